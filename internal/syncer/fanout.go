package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Fan-out brings changes of the catalog to the customers that hold them. Events of prices and products name no
// customer; which customers have them is in the snapshots, so Stripe is asked for nothing but the syncs themselves. All
// changes since the last run cost one pass over the bucket.
//
// A price matters for its lookup key. A product matters only for its features, so only where features are read. A change of
// a feature itself (entitlements.feature) has no event at Stripe: the customers' own events, wakes and the sweep bring it.
type fanout struct {
	*store
	mode     entitlement.Mode
	features bool
	marked   func(int)
}

const fanoutEvery = 30 * time.Second

// A fanoutCursor is the first sequence of STRIPE_EVENTS that was not looked at, in the stream created then.
type fanoutCursor struct {
	Seq    uint64    `json:"seq"`
	Stream time.Time `json:"stream"`
}

// A catalogItem is a price or product of an account; ids are unique per account only.
type catalogItem struct{ account, id string }

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
	case !cur.Stream.Equal(info.Created) || cur.Seq > info.State.LastSeq+1:
		cur = fanoutCursor{Seq: 1, Stream: info.Created}
	}
	items, next, err := f.changed(ctx, cur.Seq)
	if err != nil {
		return err
	}
	if len(items) > 0 {
		if err := f.mark(ctx, items); err != nil {
			return err
		}
	}
	cur.Seq = next
	b, _ := json.Marshal(cur) // a number and a time: cannot fail
	if string(b) == string(data) {
		return nil
	}
	if _, err := put(ctx, f.state, key, b, revision); err != nil && !errors.Is(err, errConflict) {
		return fmt.Errorf("keep the fan-out cursor: %w", err)
	}
	return nil
}

// changed are the prices and products that events from a sequence on tell of, each with one of its events. next is behind the last of them,
// and not behind the end of the log: a replica that lags does not have all of it.
func (f *fanout) changed(ctx context.Context, from uint64) (items map[catalogItem]entitlement.Cause, next uint64, err error) {
	items, next = make(map[catalogItem]entitlement.Cause), from
	prefix := "stripe.event." + string(f.mode) + ".*.none."
	filters := []string{prefix + "price.>", prefix + "plan.>"}
	if f.features {
		filters = append(filters, prefix+"product.>")
	}
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    from,
	}
	err = f.readLog(ctx, topology.EventsStream, cfg, func(msg jetstream.Msg) error {
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", topology.EventsStream, err)
		}
		next = meta.Sequence.Stream + 1
		f.add(items, msg)
		return nil
	})
	return items, next, err
}

// add notes whom an event is about. Nobody holds what was just created.
func (f *fanout) add(items map[catalogItem]entitlement.Cause, msg jetstream.Msg) {
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
		items[catalogItem{owner.Account, id}] = entitlement.Cause{Trigger: stripeevent.TriggerFanout, Event: body.ID, Type: typ}
	}
}

// mark marks the holders of the items: one pass over the bucket for all of them.
func (f *fanout) mark(ctx context.Context, items map[catalogItem]entitlement.Cause) error {
	return f.eachSnapshot(ctx, f.mode, everybody, func(ctx context.Context, c stripeevent.Customer, data []byte, _ uint64) error {
		s, err := entitlement.Decode(data)
		if err != nil {
			return nil // its next sync overwrites it
		}
		cause, ok := holds(&s, c.Account, items)
		if !ok {
			return nil
		}
		if err := f.markBulk(ctx, c, cause); err != nil {
			return err
		}
		f.marked(1)
		return nil
	})
}

func holds(s *entitlement.Snapshot, account string, items map[catalogItem]entitlement.Cause) (entitlement.Cause, bool) {
	for _, sub := range s.Subscriptions {
		for _, it := range sub.Items {
			for _, id := range []string{it.Price, it.Product} {
				if cause, ok := items[catalogItem{account, id}]; ok {
					return cause, true
				}
			}
		}
	}
	return entitlement.Cause{}, false
}
