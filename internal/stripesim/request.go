package stripesim

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Request is one API request, as the log keeps it and as hooks see it.
type Request struct {
	ID       string        `json:"id"`
	Time     time.Time     `json:"time"` // wall clock, on arrival
	Method   string        `json:"method"`
	Path     string        `json:"path"`
	Endpoint string        `json:"endpoint"` // "GET /v1/subscriptions/:id"; "" when there is none
	Query    url.Values    `json:"query,omitempty"`
	Account  string        `json:"account,omitempty"` // a connected account, "" for the platform's own
	Livemode bool          `json:"livemode"`
	Version  string        `json:"version"`            // Stripe-Version in force
	Customer string        `json:"customer,omitempty"` // whom it is about, as far as known
	Status   int           `json:"status"`             // 0 while under way, and for a reset
	Duration time.Duration `json:"duration_ns"`
}

// Stats sum up the requests since the start or the last [Sim.ResetLog].
type Stats struct {
	Requests   int            `json:"requests"`
	ByEndpoint map[string]int `json:"by_endpoint"`
	ByStatus   map[int]int    `json:"by_status"` // 0 for resets
	// ByCustomer counts per customer, or account/customer when connected, and endpoint.
	ByCustomer    map[string]map[string]int `json:"by_customer"`
	MaxConcurrent int                       `json:"max_concurrent"`
	PeakPerSecond int                       `json:"peak_per_second"` // in any one second
}

// requestLog keeps the latest requests in a ring and sums of all.
type requestLog struct {
	mu     sync.Mutex
	ring   []Request
	next   int
	size   int
	stats  Stats
	flying int
	recent []time.Time // arrivals of the last second
}

func (l *requestLog) init(size int) {
	l.size = size
	l.reset()
}

func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.next, l.recent = nil, 0, nil
	l.stats = Stats{
		ByEndpoint: map[string]int{}, ByStatus: map[int]int{}, ByCustomer: map[string]map[string]int{},
		MaxConcurrent: l.flying,
	}
}

func (l *requestLog) begin(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying++
	l.stats.MaxConcurrent = max(l.stats.MaxConcurrent, l.flying)
	old := 0
	for old < len(l.recent) && at.Sub(l.recent[old]) >= time.Second {
		old++
	}
	l.recent = append(l.recent[old:], at)
	l.stats.PeakPerSecond = max(l.stats.PeakPerSecond, len(l.recent))
}

// end counts a request before its answer is written, so that whoever has the answer finds
// it in the log.
func (l *requestLog) end(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	l.stats.Requests++
	l.stats.ByEndpoint[r.Endpoint]++
	l.stats.ByStatus[r.Status]++
	if r.Customer != "" {
		who := r.Customer
		if r.Account != "" {
			who = r.Account + "/" + who
		}
		if l.stats.ByCustomer[who] == nil {
			l.stats.ByCustomer[who] = map[string]int{}
		}
		l.stats.ByCustomer[who][r.Endpoint]++
	}
	if len(l.ring) < l.size {
		l.ring = append(l.ring, *r)
		return
	}
	l.ring[l.next] = *r
	l.next = (l.next + 1) % l.size
}

// Requests are the latest requests in the order they were answered, [Config.LogSize] at
// most.
func (s *Sim) Requests() []Request {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return append(slices.Clone(s.log.ring[s.log.next:]), s.log.ring[:s.log.next]...)
}

// Stats sums up the requests since the last [Sim.ResetLog].
func (s *Sim) Stats() Stats {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	out := s.log.stats
	out.ByEndpoint, out.ByStatus = maps.Clone(out.ByEndpoint), maps.Clone(out.ByStatus)
	out.ByCustomer = make(map[string]map[string]int, len(s.log.stats.ByCustomer))
	for who, n := range s.log.stats.ByCustomer {
		out.ByCustomer[who] = maps.Clone(n)
	}
	return out
}

// ResetLog forgets logged requests and starts counting afresh.
func (s *Sim) ResetLog() { s.log.reset() }

// connectedID is the account as requests and customers name it: "" for the platform.
func (w *world) connectedID() string {
	if w.scope.account == w.sim.cfg.AccountID {
		return ""
	}
	return w.scope.account
}
