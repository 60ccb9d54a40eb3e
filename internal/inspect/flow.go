package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/repair"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Arrived counts the mode's events that were stored in the last window by the server's clock, and
// returns that clock.
func (i *Inspector) Arrived(ctx context.Context, window time.Duration) (n uint64, now time.Time, err error) {
	if now, err = i.Clock(ctx); err != nil {
		return 0, now, err
	}
	since := now.Add(-window)
	n, err = streams.Count(ctx, i.JS, topology.EventsStream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		FilterSubject: "stripe.event." + string(i.mode) + ".>",
	})
	return n, now, err
}

// Waits returns, of the mode's syncs that a webhook caused and that succeeded, the time from storing
// the marker to the record of the sync, the oldest first. It reads the records from a sequence on, at
// most the last most of them, and returns the sequence of the next one.
func (i *Inspector) Waits(ctx context.Context, from, most uint64) (waits []time.Duration, next uint64, err error) {
	info, err := i.Store.Synced.Info(ctx)
	if err != nil {
		return nil, from, fmt.Errorf("read the end of the records: %w", err)
	}
	next = info.State.LastSeq + 1
	if from > next {
		from = 1 // the stream was recreated
	}
	if from = max(from, next-min(next, most), 1); from == next || info.State.Msgs == 0 {
		return nil, next, nil
	}
	for m, err := range streams.Messages(ctx, i.JS, streams.Reading{
		Stream: topology.SyncedStream, Subjects: []string{"stripe.synced." + string(i.mode) + ".>"}, From: from,
	}) {
		if err != nil {
			return nil, from, err
		}
		next = max(next, m.Seq+1)
		var r struct {
			Trigger    string
			Revision   uint64
			ReceivedAt *time.Time `json:"received_at"`
		}
		if json.Unmarshal(m.Data, &r) == nil && r.Trigger == stripeevent.TriggerWebhook && r.Revision > 0 &&
			r.ReceivedAt != nil {
			waits = append(waits, max(0, m.Stored.Sub(*r.ReceivedAt)))
		}
	}
	return waits, next, nil
}

// Unchecked returns when the oldest event was stored that the coverage check has not found covered
// yet, zero if there is none. The check runs every few minutes, so an event may be covered long
// before.
func (i *Inspector) Unchecked(ctx context.Context) (time.Time, error) {
	c := repair.Coverage{Store: i.Store, Mode: i.mode}
	seq, err := c.CoveredTo(ctx)
	if err != nil {
		return time.Time{}, err
	}
	m, err := streams.First(ctx, i.Store.Events, max(seq, 1), "stripe.event."+string(i.mode)+".>")
	if err != nil || m == nil {
		return time.Time{}, err
	}
	return m.Time, nil
}

// Budget returns the fleet's budget of requests to Stripe at a time of the server, and false if no
// syncer has used it yet.
func (i *Inspector) Budget(ctx context.Context, now time.Time) (budget.Standing, bool, error) {
	return budget.ReadStanding(ctx, i.State, i.mode, now)
}

// Swept is the result of a nightly sweep.
type Swept = store.Swept

// Swept returns the result of the last nightly sweep, zero if there was none.
func (i *Inspector) Swept(ctx context.Context) (Swept, error) {
	v, err := store.SweptEntry(i.State, i.mode).Get(ctx)
	return v.V, err
}
