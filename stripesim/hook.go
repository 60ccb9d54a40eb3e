package stripesim

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

// Answer is the HTTP answer to a request.
type Answer struct {
	Status int         // defaults to 200
	Header http.Header // added to the simulator's own; Content-Type defaults to application/json
	Body   []byte
	// Reset resets the connection instead of answering.
	Reset bool

	truncated bool // the body ends in the middle
}

// hooks are the functions of tests that stop or answer requests.
type hooks struct {
	mu         sync.Mutex
	holds      []*Held
	intercepts []*intercept
}

type intercept struct {
	fn func(*Request) *Answer
}

// Held is a request whose answer is held back: see [Sim.Hold].
type Held struct {
	hooks   *hooks
	match   func(*Request) bool
	request *Request
	arrived chan struct{}
	release chan struct{}
	once    sync.Once
}

// Hold holds back the answer to the next request for which match returns true, until
// [Held.Release]. The answer has been read and rendered by then, so it is a slow, stale read at the
// test's command. Later requests pass. match must not call the Sim.
func (s *Sim) Hold(match func(*Request) bool) *Held {
	h := &Held{hooks: &s.hooks, match: match, arrived: make(chan struct{}), release: make(chan struct{})}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.holds = append(s.hooks.holds, h)
	return h
}

// Wait waits until a request is held and returns it.
func (h *Held) Wait(ctx context.Context) (Request, error) {
	select {
	case <-h.arrived:
		return *h.request, nil
	case <-ctx.Done():
		return Request{}, fmt.Errorf("no request to hold: %w", ctx.Err())
	}
}

// Release sends the held answer, or removes the hold if no request came. It may be called more than
// once.
func (h *Held) Release() {
	h.once.Do(func() { close(h.release) })
	h.hooks.mu.Lock()
	defer h.hooks.mu.Unlock()
	h.hooks.holds = slices.DeleteFunc(h.hooks.holds, func(x *Held) bool { return x == h })
}

// hold holds r back if a hold matches it, until the release or until the client disconnects.
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

// Intercept makes fn answer requests instead of the simulator, which answers those for which fn
// returns nil. fn runs after authentication and rate limits, from many goroutines, and must not
// call the Sim. The returned function removes fn.
func (s *Sim) Intercept(fn func(*Request) *Answer) (remove func()) {
	in := &intercept{fn}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.intercepts = append(slices.Clone(s.hooks.intercepts), in)
	return func() {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		added := func(x *intercept) bool { return x == in }
		s.hooks.intercepts = slices.DeleteFunc(slices.Clone(s.hooks.intercepts), added)
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

// fail returns the answer of an error.
func fail(e *api.Error) *Answer {
	a := &Answer{Status: e.Status, Body: wire.MustJSON(map[string]*api.Error{"error": e})}
	if e.Reason != "" {
		a.Header = http.Header{"Stripe-Rate-Limited-Reason": {e.Reason}}
	}
	if e.Status == http.StatusUnauthorized {
		a.Header = http.Header{"Www-Authenticate": {`Basic realm="Stripe"`}}
	}
	return a
}
