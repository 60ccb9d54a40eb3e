package entitlement

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Status says how current a client is and counts what it received.
type Status struct {
	// Connected reports whether the NATS connection is up.
	Connected bool
	// CurrentAt is the last time at which the view was known to hold the bucket's whole state. In
	// normal operation it is at most [Options].CheckEvery old. While NATS is unreachable it stands
	// still, so its age bounds how stale reads are. A snapshot's AsOf says when Stripe itself was
	// read.
	CurrentAt time.Time
	// Err says why the client is not following the bucket; nil while it is. The client recovers by
	// itself unless Ended is true.
	Err error
	// Ended reports that the client has stopped following the bucket for good, because its NATS
	// connection is closed or [Client.Close] was called. Every Watch has ended, and reads answer
	// with the last known state. To follow the bucket again, open a new client on a new connection.
	// A connection created with nats.MaxReconnects(-1) does not close while NATS is unreachable.
	Ended bool
	// PlansRevision is the number of the plans document whose default answers for unknown customers; 0
	// without a document.
	PlansRevision uint64
	// PlansErr says why the plans document in force cannot be read: its bucket does not exist
	// ([ErrNoBucket]), the permissions do not allow it (an error after 2 s without an answer), the
	// document was removed, or it is not one. The last default that was read, if any, still answers
	// for unknown customers. PlansErr is nil while the document can be read, and while there never
	// was one.
	PlansErr error
	// Revision is the highest revision received from the bucket.
	Revision uint64
	// Snapshots is the number of known customers, Unreadable the number of keys whose newest entry
	// cannot be read (see [Client.Lookup]).
	Snapshots, Unreadable int
	// Entries counts the bucket entries received since Open, Changes the entries that changed a
	// customer's content after the first load, and Restarts the restarts of the watch.
	Entries, Changes, Restarts uint64
}

// Status returns the client's current status. It never blocks.
func (c *Client) Status() Status {
	h := c.health.get()
	number, plansErr := c.plans.status()
	connected := false
	if c.byHand != nil {
		connected, h.currentAt = c.ctx.Err() == nil, time.Now()
	} else {
		connected = c.nc.Status() == nats.CONNECTED
	}
	return Status{
		Connected:     connected,
		CurrentAt:     h.currentAt,
		Err:           h.err,
		Ended:         c.ended(),
		PlansRevision: number,
		PlansErr:      plansErr,
		Revision:      c.view.Newest.Load(),
		Snapshots:     int(c.view.Snapshots.Load()),
		Unreadable:    int(c.view.Unreadable.Load()),
		Entries:       c.view.Entries.Load(),
		Changes:       c.view.Changes.Load(),
		Restarts:      h.restarts,
	}
}

// ended reports whether the goroutine that follows the bucket has ended.
func (c *Client) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// health is the state of the watch, written by the goroutine that follows the bucket.
type health struct {
	mu sync.Mutex // guards vitals, so that a reader sees one consistent state
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

// degraded sets why the view may lack entries although its watch is running.
func (h *health) degraded(err error) {
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
