package stripesim

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Answer is what a request is answered with.
type Answer struct {
	Status int // defaults to 200
	Header http.Header
	Body   []byte
	// Reset closes the connection with a reset instead of answering.
	Reset bool
}

// hooks are what tests put in a request's way.
type hooks struct {
	mu         sync.Mutex
	holds      []*Held
	intercepts []*intercept
}

type intercept struct {
	fn func(*Request) *Answer
}

// Held is a read that is kept from its answer: see [Sim.Hold].
type Held struct {
	hooks   *hooks
	match   func(*Request) bool
	request *Request
	arrived chan struct{}
	release chan struct{}
	once    sync.Once
}

// Hold keeps the next request that match accepts after its state was read and rendered,
// until Release: a slow, stale read on command. Later requests pass. match must not call
// the Sim.
func (s *Sim) Hold(match func(*Request) bool) *Held {
	h := &Held{hooks: &s.hooks, match: match, arrived: make(chan struct{}), release: make(chan struct{})}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.holds = append(s.hooks.holds, h)
	return h
}

// Wait returns once a request is held, and which.
func (h *Held) Wait(ctx context.Context) (Request, error) {
	select {
	case <-h.arrived:
		return *h.request, nil
	case <-ctx.Done():
		return Request{}, fmt.Errorf("no request to hold: %w", ctx.Err())
	}
}

// Release lets the held request be answered, or takes the hold back if none came. It may
// be called more than once.
func (h *Held) Release() {
	h.once.Do(func() { close(h.release) })
	h.hooks.mu.Lock()
	defer h.hooks.mu.Unlock()
	h.hooks.holds = slices.DeleteFunc(h.hooks.holds, func(x *Held) bool { return x == h })
}

// hold keeps r if somebody waits for it, until release or the client's end.
func (k *hooks) hold(ctx context.Context, r *Request) {
	if h := k.take(r); h != nil {
		close(h.arrived)
		select {
		case <-h.release:
		case <-ctx.Done():
		}
	}
}

func (k *hooks) take(r *Request) *Held {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, h := range k.holds {
		seen := *r
		if h.match(&seen) {
			k.holds = slices.Delete(k.holds, i, i+1)
			h.request = &seen
			return h
		}
	}
	return nil
}

// Intercept lets fn answer requests in Stripe's place; nil leaves a request alone. fn
// runs after authentication and rate limits, from many goroutines, and must not call the
// Sim. The returned func takes it back.
func (s *Sim) Intercept(fn func(*Request) *Answer) (remove func()) {
	in := &intercept{fn}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.intercepts = append(slices.Clone(s.hooks.intercepts), in)
	return func() {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		s.hooks.intercepts = slices.DeleteFunc(slices.Clone(s.hooks.intercepts), func(x *intercept) bool { return x == in })
	}
}

func (k *hooks) intercept(r *Request) *Answer {
	k.mu.Lock()
	all := k.intercepts
	k.mu.Unlock()
	for _, in := range all {
		seen := *r
		if a := in.fn(&seen); a != nil {
			return a
		}
	}
	return nil
}
