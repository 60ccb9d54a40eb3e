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
	// next has the customers whose sync is under way, each with the one after it, nil while nobody has asked for one.
	next map[stripeevent.Customer]*sharedSync
}

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
	next, busy := r.next[c]
	if busy && next != nil {
		return next
	}
	asked := &sharedSync{sync: sync, done: make(chan struct{})}
	if busy {
		r.next[c] = asked
		return asked
	}
	if r.next == nil {
		r.next = make(map[stripeevent.Customer]*sharedSync)
	}
	r.next[c] = nil
	start(func() { r.run(c, asked) })
	return asked
}

// run makes a customer's readings until nobody asks for another.
func (r *readings) run(c stripeevent.Customer, now *sharedSync) {
	for now != nil {
		now.res, now.err = now.sync()
		close(now.done)
		now = r.turn(c)
	}
}

// turn is what comes after a reading that has ended, nil for nothing.
func (r *readings) turn(c stripeevent.Customer) *sharedSync {
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
