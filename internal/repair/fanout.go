package repair

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A FanOut is the job that brings changes of prices and products to the customers that have them.
// Events of prices and products name no customer; the snapshots say which customers have them, so
// only the syncs themselves cost requests. All changes since the last run cost one pass over the
// bucket.
//
// One pass is not enough: a reading that began before the change may be written after the pass, for
// a customer who has just subscribed to the price. So each event gets a second pass, once such
// readings have been written. Customers whose latest record covers the event, and customers whose
// marker is still pending, are not marked. So the second pass costs no requests for the customers
// that the first one marked.
//
// A price matters for its lookup key. A product matters only for its features, so only if features
// are read. Stripe has no event for a change of a feature itself (entitlements.feature): the
// customers' own events, wakes and the sweep bring it.
type FanOut struct {
	*store.Store
	Mode entitlement.Mode
	// Settle is how old an event must be for its last pass.
	Settle time.Duration
	Marked func(int)
}

// ReadingEnds is the age of an event after which readings of Stripe that began before it count as
// written. No bound applies to a reading as a whole: it is one request for the subscriptions and,
// if features are read, one for them, each within the client's timeout. The third timeout is for a
// permit and for the write. A slower reading may still bring back the state before the change: a
// customer of many pages while Stripe is slow, a bulk reading whose second request waits for its
// permit, a backfill of a customer without a snapshot. The customer's next event or wake repairs
// that; the nightly sweep repairs a lookup key too.
const ReadingEnds = 3 * stripeapi.DefaultTimeout

// A fanoutCursor is how far STRIPE_EVENTS was read, in the stream created at Stream.
type fanoutCursor struct {
	// Seq is the first sequence that has not had its second pass, Passed the first that has had
	// none.
	Seq    uint64    `json:"seq"`
	Passed uint64    `json:"passed"`
	Stream time.Time `json:"stream"`
}

// A catalogItem is a price or product of an account; ids are unique per account only.
type catalogItem struct{ account, id string }

// A catalogChange is the last event of an item, and its sequence.
type catalogChange struct {
	cause entitlement.Cause
	seq   uint64
}

// Run is the job.
func (f *FanOut) Run(ctx context.Context, _ bool) error {
	info, err := f.Store.Events.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the event log: %w", err)
	}
	entry := streams.Entry[fanoutCursor]{KV: f.State, Key: "cursor." + string(f.Mode) + ".fanout"}
	last, err := entry.Get(ctx)
	if err != nil {
		return err
	}
	cur := last.V
	switch {
	case !last.OK:
		// The very first run: the snapshots have the earlier changes.
		cur = fanoutCursor{Seq: info.State.LastSeq + 1, Stream: info.Created}
	case !cur.Stream.Equal(info.Created) || max(cur.Seq, cur.Passed) > info.State.LastSeq+1:
		cur = fanoutCursor{Seq: 1, Stream: info.Created}
	}
	cur.Passed = max(cur.Passed, cur.Seq)
	changes, next, err := f.changed(ctx, cur, info.TimeStamp)
	if err != nil {
		return err
	}
	if len(changes) > 0 {
		if err := f.mark(ctx, changes, cur.Passed, info.State.LastSeq); err != nil {
			return err
		}
	}
	if next == last.V {
		return nil
	}
	return entry.Advance(ctx, next, last.Revision)
}

// changed returns the prices and products of the events that are due for a pass: those that had
// none, and those that are now, by the server's clock, old enough for the second. next is behind
// the last of them, and never behind events that a lagging replica did not show.
func (f *FanOut) changed(
	ctx context.Context, cur fanoutCursor, now time.Time,
) (changes map[catalogItem]catalogChange, next fanoutCursor, err error) {
	changes, next = make(map[catalogItem]catalogChange), cur
	prefix := "stripe.event." + string(f.Mode) + ".*.none."
	filters := []string{prefix + "price.>", prefix + "plan.>"}
	doc, err := f.Document(ctx, 0)
	if err != nil {
		return nil, cur, err
	}
	reading, err := f.Reading(ctx, "", doc.Entitlements(""), f.BulkPermit)
	if err != nil {
		return nil, cur, err
	}
	if reading == plans.ReadAlways {
		filters = append(filters, prefix+"product.>")
	}
	young := false
	log := streams.Messages(ctx, f.JS, streams.Reading{Stream: topology.EventsStream, Subjects: filters, From: cur.Seq})
	for msg, err := range log {
		if err != nil {
			return nil, cur, err
		}
		// All events behind a young one count as young, because the cursor is one number.
		young = young || now.Sub(msg.Stored) < f.Settle
		if !young {
			next.Seq = msg.Seq + 1
		}
		next.Passed = max(next.Passed, msg.Seq+1)
		if !young || msg.Seq >= cur.Passed {
			add(changes, msg)
		}
	}
	return changes, next, nil
}

// add adds the price or product of an event. No customer has one that was just created.
func add(changes map[catalogItem]catalogChange, msg streams.Message) {
	owner, typ, err := stripeevent.ParseEventSubject(msg.Subject)
	if err != nil || typ == "price.created" || typ == "plan.created" || typ == "product.created" {
		return
	}
	var body struct {
		ID   string `json:"id"`
		Data struct {
			Object struct {
				ID string `json:"id"`
			} `json:"object"`
		} `json:"data"`
	}
	if json.Unmarshal(msg.Data, &body) != nil {
		return
	}
	if id := body.Data.Object.ID; id != "" {
		cause := entitlement.Cause{Trigger: stripeevent.TriggerFanout, Event: body.ID, Type: typ}
		changes[catalogItem{owner.Account, id}] = catalogChange{cause, msg.Seq}
	}
}

// mark marks the customers that have a changed item, in one pass over the bucket; for events before
// passed it is the second pass. last is the end of the log: a record with a higher events_seq is of
// an earlier log, or of a sync that began meanwhile.
func (f *FanOut) mark(ctx context.Context, changes map[catalogItem]catalogChange, passed, last uint64) error {
	each := func(ctx context.Context, c stripeevent.Customer, data []byte, _ uint64) error {
		s, err := entitlement.Decode(data)
		if err != nil {
			return nil // its next sync overwrites it
		}
		change, ok := holds(&s, c.Account, changes)
		if !ok {
			return nil
		}
		latest, err := f.LatestRecord(ctx, c)
		if err != nil {
			return fmt.Errorf("read the latest record of %s: %w", c, err)
		}
		if change.seq <= latest.EventsSeq && latest.EventsSeq <= last {
			return nil
		}
		if change.seq < passed {
			// A marker of the first pass is still pending: one sync is enough.
			if waits, err := f.Store.Marked(ctx, c, false); err != nil || waits {
				return err
			}
		}
		if err := f.MarkBulk(ctx, c, change.cause); err != nil {
			return err
		}
		f.Marked(1)
		return nil
	}
	return f.EachSnapshot(ctx, f.Mode, store.Everyone, each)
}

// holds returns the latest change of an item in the snapshot.
func holds(
	s *entitlement.Snapshot, account string, changes map[catalogItem]catalogChange,
) (last catalogChange, ok bool) {
	for _, sub := range s.Subscriptions {
		for _, it := range sub.Items {
			for _, id := range []string{it.Price, it.Product} {
				if change := changes[catalogItem{account, id}]; change.seq > last.seq {
					last, ok = change, true
				}
			}
		}
	}
	return last, ok
}
