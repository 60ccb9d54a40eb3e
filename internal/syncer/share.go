package syncer

import (
	"sync"

	"entitled/internal/stripeevent"
)

// readings lets requests for one customer share its syncs: whoever asks while one is under way gets the next, which begins
// after that one has ended, with all who ask until then. Each on its own would be in the way of the others, for of syncs that run
// side by side only one can write.
type readings struct {
	mu sync.Mutex
	of map[stripeevent.Customer]*turns
}

// turns are a customer's sync that is under way, and the one after it, nil if nobody asked for one.
type turns struct{ now, next *sharedSync }

// A sharedSync is one sync for all who asked for it. done is closed once the rest is set.
type sharedSync struct {
	sync func() (synced, error)
	done chan struct{}
	res  synced
	err  error
}

// ask returns the first reading of a customer that begins from now on. sync makes it, unless somebody asked for it already; start runs
// what it is given in a goroutine that its caller waits for.
func (r *readings) ask(c stripeevent.Customer, sync func() (synced, error), start func(func())) *sharedSync {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of[c]
	switch {
	case t == nil:
		if r.of == nil {
			r.of = make(map[stripeevent.Customer]*turns)
		}
		now := &sharedSync{sync: sync, done: make(chan struct{})}
		r.of[c] = &turns{now: now}
		start(func() { r.run(c, now) })
		return now
	case t.next == nil:
		t.next = &sharedSync{sync: sync, done: make(chan struct{})}
	}
	return t.next
}

// run makes a customer's readings until nobody asks for another.
func (r *readings) run(c stripeevent.Customer, now *sharedSync) {
	for now != nil {
		now.res, now.err = now.sync()
		close(now.done)
		r.mu.Lock()
		t := r.of[c]
		t.now, t.next = t.next, nil
		if now = t.now; now == nil {
			delete(r.of, c)
		}
		r.mu.Unlock()
	}
}
