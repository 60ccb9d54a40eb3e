package stripesim

import (
	"sync"
	"time"
)

// Limits are rate limits like Stripe's, in requests per second of wall time; 0 means no limit. Each
// allows a burst of one second's worth.
type Limits struct {
	Endpoint float64 `json:"endpoint,omitempty"` // per endpoint and mode
	Live     float64 `json:"live,omitempty"`     // all live requests
	Test     float64 `json:"test,omitempty"`     // all test requests
	// Concurrency is how many requests of a mode may be in flight at once.
	Concurrency int `json:"concurrency,omitempty"`
}

// StripeLimits returns the default limits that Stripe documents. Stripe publishes no limit on
// concurrency.
func StripeLimits() Limits { return Limits{Endpoint: 25, Live: 100, Test: 25} }

// limiter counts requests, also for connected accounts, against the platform's limits.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	flying  map[bool]int
}

type bucket struct {
	tokens float64
	at     time.Time
}

// enter admits a request or returns Stripe's reason for refusing it. Each admitted request must
// call leave.
func (l *limiter) enter(lim Limits, live bool, endpoint string) (reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying == nil {
		l.flying, l.buckets = map[bool]int{}, map[string]*bucket{}
	}
	global, mode := lim.Test, "test"
	if live {
		global, mode = lim.Live, "live"
	}
	now := time.Now()
	whole := l.bucket(mode, global, now)
	one := l.bucket(mode+" "+endpoint, lim.Endpoint, now)
	switch {
	case lim.Concurrency > 0 && l.flying[live] >= lim.Concurrency:
		return "global-concurrency"
	case whole != nil && whole.tokens < 1:
		return "global-rate"
	case one != nil && one.tokens < 1:
		return "endpoint-rate"
	}
	for _, b := range []*bucket{whole, one} {
		if b != nil {
			b.tokens--
		}
	}
	l.flying[live]++
	return ""
}

func (l *limiter) leave(live bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying[live]--
}

// bucket returns a refilled bucket, or nil without a limit. A new bucket is full.
func (l *limiter) bucket(name string, rate float64, now time.Time) *bucket {
	if rate <= 0 {
		delete(l.buckets, name)
		return nil
	}
	b := l.buckets[name]
	if b == nil {
		b = &bucket{tokens: rate, at: now}
		l.buckets[name] = b
	}
	b.tokens = min(rate, b.tokens+rate*now.Sub(b.at).Seconds())
	b.at = now
	return b
}
