package entitlement

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Status says how current a client is and what it has met.
type Status struct {
	// Connected says that the NATS connection is up.
	Connected bool
	// CurrentAt is the latest instant at which the view was known to hold all that the bucket held. In health it is never
	// older than [Options].CheckEvery; while NATS is away it stands still, and the time since bounds how stale reads are.
	// How long ago Stripe itself was read is each snapshot's AsOf.
	CurrentAt time.Time
	// Err says why the client does not follow the bucket at the moment; nil while it does. The client goes on by itself,
	// unless it has Ended.
	Err error
	// Ended says that the client does not follow the bucket any more and will not go on by itself: its NATS connection is
	// closed for good, or [Client.Close] was called. Every Watch has ended. Reads answer with what was held last; to follow
	// the bucket again, open a new client on a new connection. A connection made with nats.MaxReconnects(-1) does
	// not close because NATS is away.
	Ended bool
	// Revision is the highest that the client met in the bucket.
	Revision uint64
	// Snapshots is the number of customers held; Unreadable the number of keys whose newest entry cannot be read, see
	// [Client.Lookup].
	Snapshots, Unreadable int
	// Entries counts the bucket entries received since Open, Changes those that changed a customer's content after the
	// first load, and Restarts how often the watch was set up anew.
	Entries, Changes, Restarts uint64
}

// Status returns the client's status now. It never blocks.
func (c *Client) Status() Status {
	h := c.health.get()
	return Status{
		Connected:  c.nc.Status() == nats.CONNECTED,
		CurrentAt:  h.currentAt,
		Err:        h.err,
		Ended:      c.ended(),
		Revision:   c.view.newest.Load(),
		Snapshots:  int(c.view.snapshots.Load()),
		Unreadable: int(c.view.unreadable.Load()),
		Entries:    c.view.entries.Load(),
		Changes:    c.view.changes.Load(),
		Restarts:   h.restarts,
	}
}

// ended reports whether the client's goroutine has ended: it goes on until Close is called or the connection is closed.
func (c *Client) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// health is what the client's goroutine says of its watch.
type health struct {
	mu sync.Mutex // makes what is read one state
	vitals
}

type vitals struct {
	currentAt time.Time
	err       error
	restarts  uint64
}

func (h *health) get() vitals {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vitals
}

func (h *health) current(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.currentAt, h.err = at, nil
}

// waits notes why the client's view may lack something, although its watch goes on.
func (h *health) waits(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

func (h *health) ended(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	h.restarts++
}
