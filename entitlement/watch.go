package entitlement

import (
	"context"
	"iter"

	"entitled/entitlement/internal/view"
)

// A Change is a change of one customer's content, as [Client.Watch] yields it.
type Change struct {
	// Key is the customer's bucket key; see [ParseKey]. It is the id with the prefix id: in the
	// Initial change of an id that no customer has.
	Key string
	// Revision is the revision of the key's newest entry in the bucket, which Snapshot is from; 0
	// when the bucket has no entry.
	Revision uint64
	// Snapshot is the customer's content now; zero for a customer that is unknown now, or no longer
	// has the id that is watched.
	Snapshot Snapshot
	// Previous is the content that the same watch yielded before; zero for a customer that was
	// unknown then, and for an Initial change.
	Previous Snapshot
	// Initial marks the state at the beginning of the watch, as opposed to a change since.
	Initial bool
}

// Differences returns the differences between Previous and Snapshot, sorted by path.
func (c *Change) Differences() []Difference { return Diff(&c.Previous, &c.Snapshot) }

// Watch yields the current state of customers, and then every change. It takes keys and ids; without
// any it watches all customers. It blocks between changes, so run it in its own goroutine:
//
//	for change := range client.Watch(ctx, "cus_1") {
//		show(change.Snapshot)
//	}
//
// The current state comes first, each change with Initial set: of every given key, unknown
// customers included, of every customer with a given id, or of all known customers. A sync that
// changes only as_of, changed_at or cause is not a change, and neither is another default in the
// plans document.
//
// The customers with an id may change while it is watched: one that takes on the id is yielded as a
// customer that was unknown, one that gives it up as a customer that is unknown now.
//
// A slow loop body delays nothing else. Several changes of one customer in the meantime become one,
// from the content yielded before to the newest, or none if the two are equal. So the last state is
// never lost, and a slow watch needs memory per changed customer, not per change.
//
// Watch ends when ctx ends, when the loop is left, or when the client ends: after [Client.Close],
// or when the NATS connection is closed for good ([Status].Ended).
func (c *Client) Watch(ctx context.Context, refs ...string) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := c.view.Watch(refs)
		defer c.view.Unwatch(w)
		going := func(change view.Change) bool {
			return ctx.Err() == nil && c.ctx.Err() == nil && yield(Change(change))
		}
		for change := range c.view.Now(w) {
			if !going(change) {
				return
			}
		}
		for ended := false; ; {
			for change := range c.view.Pending(w) {
				if !going(change) {
					return
				}
			}
			if ended {
				return
			}
			select {
			case <-w.Changed:
			case <-ctx.Done():
				return
			case <-c.done:
				ended = true // drain once more: a change may precede the end
			}
		}
	}
}
