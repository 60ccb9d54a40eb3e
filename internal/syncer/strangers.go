package syncer

import (
	"errors"
	"sync"
	"time"

	"entitled/internal/stripeevent"
)

// Any app may ask for any id, and Stripe takes two requests to say that it has no such customer. So a syncer remembers it.
const (
	// strangersFor is how long a syncer remembers that Stripe has no such customer.
	strangersFor = time.Minute
	// mostStrangers bounds how many it remembers, a few hundred bytes each.
	mostStrangers = 4096
)

// errNoCustomer says that Stripe does not have the customer that a request asks for, and that nothing here is about it. Nothing was written.
var errNoCustomer = errors.New("no such customer in Stripe")

// strangers are the customers that were asked for lately and that Stripe does not have.
type strangers struct {
	mu    sync.Mutex
	until map[stripeevent.Customer]time.Time
	// oldest has each customer of until, the first to be forgotten first.
	oldest []stripeevent.Customer
}

func (s *strangers) add(c stripeevent.Customer, now time.Time) {
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

func (s *strangers) has(c stripeevent.Customer, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, there := s.until[c]
	return there && now.Before(until)
}
