package protocol

import (
	"sync"
	"time"

	"entitled/internal/stripeevent"
)

// Any app may request any id, and it takes two requests to learn that Stripe has no such customer.
// So a syncer remembers those ids for a while.
const (
	// strangersFor is how long a syncer remembers an id.
	strangersFor = time.Minute
	// mostStrangers bounds the ids; each takes a few hundred bytes.
	mostStrangers = 4096
)

// Strangers remembers customers that were requested recently and that Stripe does not have.
type Strangers struct {
	mu    sync.Mutex
	until map[stripeevent.Customer]time.Time
	// oldest has each customer of until, the first to expire first.
	oldest []stripeevent.Customer
}

// Add remembers a customer for a minute. If there are too many, the oldest is forgotten.
func (s *Strangers) Add(c stripeevent.Customer, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = make(map[stripeevent.Customer]time.Time)
	}
	if until, there := s.until[c]; there && now.Before(until) {
		return
	}
	for len(s.oldest) > 0 && (len(s.oldest) >= mostStrangers || !now.Before(s.until[s.oldest[0]])) {
		delete(s.until, s.oldest[0])
		s.oldest = s.oldest[1:]
	}
	s.until[c] = now.Add(strangersFor)
	s.oldest = append(s.oldest, c)
}

// Has reports whether the customer is remembered.
func (s *Strangers) Has(c stripeevent.Customer, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, there := s.until[c]
	return there && now.Before(until)
}
