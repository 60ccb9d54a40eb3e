package protocol

import (
	"context"
	"sync"

	"entitled/internal/stripeevent"
)

// Readings lets requests for one customer share syncs. A request that arrives during a sync gets
// the next one, which begins after that sync has ended, together with all requests that arrive
// until then. Separate syncs would conflict, because only one of several concurrent syncs can
// write.
type Readings struct {
	mu sync.Mutex
	// next has an entry for each customer whose sync is under way: the sync after it, nil if none
	// is requested yet.
	next map[stripeevent.Customer]*Reading
}

// A Reading is one sync for all requests that share it. done is closed once res and err are set.
type Reading struct {
	sync func() (Result, error)
	done chan struct{}
	res  Result
	err  error
}

// Wait returns the result of the reading, or the error of ctx if that ends before.
func (r *Reading) Wait(ctx context.Context) (Result, error) {
	select {
	case <-r.done:
		return r.res, r.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Ask returns the customer's first reading that begins from now on. sync makes it, unless another
// request asked for it already; start runs its argument in a goroutine, which the caller of Ask
// waits for.
func (r *Readings) Ask(c stripeevent.Customer, sync func() (Result, error), start func(func())) *Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, busy := r.next[c]
	if busy && next != nil {
		return next
	}
	asked := &Reading{sync: sync, done: make(chan struct{})}
	if busy {
		r.next[c] = asked
		return asked
	}
	if r.next == nil {
		r.next = make(map[stripeevent.Customer]*Reading)
	}
	r.next[c] = nil
	start(func() { r.run(c, asked) })
	return asked
}

// run makes a customer's readings until no other is requested.
func (r *Readings) run(c stripeevent.Customer, now *Reading) {
	for now != nil {
		now.res, now.err = now.sync()
		close(now.done)
		now = r.following(c)
	}
}

// following returns the reading after one that has ended, nil if none is requested.
func (r *Readings) following(c stripeevent.Customer) *Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.next[c]
	if next == nil {
		delete(r.next, c)
	} else {
		r.next[c] = nil
	}
	return next
}
