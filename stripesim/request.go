package stripesim

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Request describes one API request, in the log and for the functions of tests.
type Request struct {
	ID       string        `json:"id"`   // req_…
	Time     time.Time     `json:"time"` // wall clock, on arrival
	Method   string        `json:"method"`
	Path     string        `json:"path"`
	Endpoint string        `json:"endpoint"`          // such as "GET /v1/subscriptions/:id"; "" if it is unknown
	Query    url.Values    `json:"query,omitempty"`   // of a write, its form
	Account  string        `json:"account,omitempty"` // the connected account; "" for the platform's own
	Livemode bool          `json:"livemode"`
	Version  string        `json:"version"`            // the API version of the answer
	Customer string        `json:"customer,omitempty"` // the customer that it reads; "" if it reads no particular one
	Status   int           `json:"status"`             // 0 while it is in flight, and after a reset
	Duration time.Duration `json:"duration_ns"`
	// IdempotencyKey is that of a write, and Replayed whether the answer was an earlier one.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	Replayed       bool   `json:"replayed,omitempty"`
}

// Stats are totals of the requests since the start or the last [Sim.ResetLog].
type Stats struct {
	Requests   int            `json:"requests"`
	ByEndpoint map[string]int `json:"by_endpoint"`
	ByStatus   map[int]int    `json:"by_status"` // 0 counts resets
	// ByCustomer counts per customer and endpoint. A customer of a connected account is
	// "account/customer".
	ByCustomer    map[string]map[string]int `json:"by_customer"`
	MaxConcurrent int                       `json:"max_concurrent"`
	PeakPerSecond int                       `json:"peak_per_second"` // the most requests within one second
}

// requestLog keeps the latest requests in a ring, and totals of all.
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

// end counts a request. It runs before the answer is written, so the log has every request that a
// client has an answer to.
func (l *requestLog) end(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	l.stats.Requests++
	l.stats.ByEndpoint[r.Endpoint]++
	l.stats.ByStatus[r.Status]++
	if r.Customer != "" {
		customer := r.Customer
		if r.Account != "" {
			customer = r.Account + "/" + customer
		}
		if l.stats.ByCustomer[customer] == nil {
			l.stats.ByCustomer[customer] = map[string]int{}
		}
		l.stats.ByCustomer[customer][r.Endpoint]++
	}
	if len(l.ring) < l.size {
		l.ring = append(l.ring, *r)
		return
	}
	l.ring[l.next] = *r
	l.next = (l.next + 1) % l.size
}

// Requests returns the latest requests in the order in which they were answered, at most
// [Config.LogSize].
func (s *Sim) Requests() []Request {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return append(slices.Clone(s.log.ring[s.log.next:]), s.log.ring[:s.log.next]...)
}

// Stats returns totals of the requests since the last [Sim.ResetLog].
func (s *Sim) Stats() Stats {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	out := s.log.stats
	out.ByEndpoint, out.ByStatus = maps.Clone(out.ByEndpoint), maps.Clone(out.ByStatus)
	out.ByCustomer = make(map[string]map[string]int, len(s.log.stats.ByCustomer))
	for customer, n := range s.log.stats.ByCustomer {
		out.ByCustomer[customer] = maps.Clone(n)
	}
	return out
}

// ResetLog clears the request log and its totals.
func (s *Sim) ResetLog() { s.log.reset() }

// connectedID returns the id of a connected account, or "" for the platform's own.
func (w *world) connectedID() string {
	if w.scope.account == w.sim.cfg.AccountID {
		return ""
	}
	return w.scope.account
}
