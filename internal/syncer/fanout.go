package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Fan-out brings changes of the catalog to the customers that hold them. Events of prices and products name no
// customer; which customers have them is in the snapshots, so Stripe is asked for nothing but the syncs themselves. All
// changes since the last run cost one pass over the bucket.
//
// One pass is not enough: a reading that began before the change may be written after the pass, of a customer who has just come to the price. So each
// event gets a second one, once such readings have been written. A customer whose latest record covers the event has the change, and one whose marker
// still waits will have it: neither is marked, so the second pass costs Stripe nothing for whom the first one marked.
//
// A price matters for its lookup key. A product matters only for its features, so only where features are read. A change of
// a feature itself (entitlements.feature) has no event at Stripe: the customers' own events, wakes and the sweep bring it.
type fanout struct {
	*store
	mode     entitlement.Mode
	features bool
	// settle is how old an event must be for its last pass.
	settle time.Duration
	marked func(int)
}

const fanoutEvery = 30 * time.Second

// readingEnds is the age of an event by which readings of Stripe that began before it have been written. Nothing bounds a reading as a whole: it is
// a request for the subscriptions and, where features are read, one for those, each within the client's timeout; the third such time is for a place
// in the budget and for the write. What takes longer may still bring back what was before the change: a customer of many pages while Stripe is slow at
// each, a reading in the bulk lane whose second request waits for its place, a backfill's of somebody who had no snapshot. The customer's next
// event or wake mends that, and a lookup key also the nightly sweep.
const readingEnds = 3 * stripeapi.DefaultTimeout

// A fanoutCursor is how far STRIPE_EVENTS was looked at, in the stream created then.
type fanoutCursor struct {
	// Seq is the first sequence that has not had its last pass, Passed the first that had none at all.
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

func (f *fanout) run(ctx context.Context, _ bool) error {
	info, err := f.store.events.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the event log: %w", err)
	}
	key := "cursor." + string(f.mode) + ".fanout"
	data, revision, err := get(ctx, f.state, key)
	if err != nil {
		return fmt.Errorf("read the fan-out cursor: %w", err)
	}
	var cur fanoutCursor
	switch {
	case json.Unmarshal(data, &cur) != nil:
		// The first run of all: what happened before is in the snapshots.
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
	b, _ := json.Marshal(next) // numbers and a time: cannot fail
	if string(b) == string(data) {
		return nil
	}
	if _, err := put(ctx, f.state, key, b, revision); err != nil && !errors.Is(err, errConflict) {
		return fmt.Errorf("keep the fan-out cursor: %w", err)
	}
	return nil
}

// changed are the prices and products of the events that are due for a pass: those that had none, and those that by now, the server's time, are
// old enough for their last. next is behind the last of them, and not behind the end of the log: a replica that lags does not have all of it.
func (f *fanout) changed(ctx context.Context, cur fanoutCursor, now time.Time) (changes map[catalogItem]catalogChange, next fanoutCursor, err error) {
	changes, next = make(map[catalogItem]catalogChange), cur
	prefix := "stripe.event." + string(f.mode) + ".*.none."
	filters := []string{prefix + "price.>", prefix + "plan.>"}
	if f.features {
		filters = append(filters, prefix+"product.>")
	}
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    cur.Seq,
	}
	young := false
	err = f.readLog(ctx, topology.EventsStream, cfg, func(msg jetstream.Msg) error {
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", topology.EventsStream, err)
		}
		seq := meta.Sequence.Stream
		// Behind a young one all are: the cursor is one number.
		young = young || now.Sub(meta.Timestamp) < f.settle
		if !young {
			next.Seq = seq + 1
		}
		next.Passed = max(next.Passed, seq+1)
		if !young || seq >= cur.Passed {
			add(changes, msg, seq)
		}
		return nil
	})
	return changes, next, err
}

// add notes whom an event is about. Nobody holds what was just created.
func add(changes map[catalogItem]catalogChange, msg jetstream.Msg, seq uint64) {
	owner, typ, err := stripeevent.ParseEventSubject(msg.Subject())
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
	if json.Unmarshal(msg.Data(), &body) != nil {
		return
	}
	if id := body.Data.Object.ID; id != "" {
		cause := entitlement.Cause{Trigger: stripeevent.TriggerFanout, Event: body.ID, Type: typ}
		changes[catalogItem{owner.Account, id}] = catalogChange{cause, seq}
	}
}

// mark marks the holders of what changed: one pass over the bucket for all of it, the last one for what is before passed. last is the end of the
// log: a record that says more than that is of the log before this one, if not of a sync that began meanwhile.
func (f *fanout) mark(ctx context.Context, changes map[catalogItem]catalogChange, passed, last uint64) error {
	return f.eachSnapshot(ctx, f.mode, everybody, func(ctx context.Context, c stripeevent.Customer, data []byte, _ uint64) error {
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
			// Whose marker waits since the pass before is read once, not twice.
			if waits, err := f.store.marked(ctx, c, false); err != nil || waits {
				return err
			}
		}
		if err := f.markBulk(ctx, c, change.cause); err != nil {
			return err
		}
		f.marked(1)
		return nil
	})
}

// holds is the last change of all that the snapshot has of the account's items.
func holds(s *entitlement.Snapshot, account string, changes map[catalogItem]catalogChange) (last catalogChange, ok bool) {
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
