package syncer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/repair"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// An errand is one of the works on a whole account: prepare leaves something for it to do and
// returns the customers, do does it.
type errand struct {
	prepare func(r *rig) (ids []string)
	do      func(ctx context.Context, s *Syncer) error
	// check, if not nil, looks at more than snapshots.
	check func(r *rig)
	// like is an errand that makes the same calls: only others have their cells here.
	like string
}

func errands() map[string]errand {
	return map[string]errand{
		"backfill":         {prepare: prepareBackfill, do: backfill},
		"resumed backfill": {prepare: prepareResumed, do: backfill, like: "backfill"},
		"sweep": {prepare: prepareSweep, do: func(ctx context.Context, s *Syncer) error {
			return s.runSweep(ctx, false)
		}},
		"relief": {prepare: prepareRelief, do: func(ctx context.Context, s *Syncer) error {
			if err := s.relief.look(ctx); err != nil {
				return err
			}
			if last, active := s.relief.seen(); active || !last.Ended.IsZero() {
				return nil
			}
			return s.startRelief(ctx, stripeevent.Now, 0, 0)
		}},
		"recover": {prepare: prepareRecover, check: (*rig).logComplete, do: func(ctx context.Context, s *Syncer) error {
			rec := s.recovery("")
			_, err := rec.Run(ctx, 0, time.Now())
			return err
		}},
		"decide": {prepare: prepareDecide, check: (*rig).allDecided, do: func(ctx context.Context, s *Syncer) error {
			return s.decider.Run(ctx, false)
		}},
		"fan-out": {prepare: prepareFanout, do: func(ctx context.Context, s *Syncer) error {
			return (&repair.FanOut{Store: s.store, Mode: s.mode, Marked: func(int) {}}).Run(ctx, false)
		}},
	}
}

func backfill(ctx context.Context, s *Syncer) error {
	_, err := (&Operator{s: s}).Backfill(ctx, sweep.Options{})
	return err
}

// prepareResumed leaves the checkpoint of a backfill that was ended behind its first page.
func prepareResumed(r *rig) []string {
	ids := r.load(12)
	ctx, end := context.WithCancel(r.t.Context())
	defer end()
	first := func(p sweep.Report) {
		if p.Pages > 0 {
			end()
		}
	}
	if _, err := r.operator(quiet).Backfill(ctx, sweep.Options{Progress: first}); err == nil {
		r.t.Fatal("the backfill ended before it was interrupted")
	}
	return ids
}

func prepareBackfill(r *rig) []string {
	ids := r.load(12)
	now := time.Now()
	o := r.operator().s
	s := o.store
	if err := s.SetFailure(r.t.Context(), ours(ids[0]), record.Failure{Failures: 20, ParkedAt: &now}, 0); err != nil {
		r.t.Fatal(err)
	}
	r.putSnapshot(ids[1])
	r.putSnapshot(ids[2])
	r.purge(ours(ids[2]))
	return append(ids, r.putSnapshot("cus_unlisted"))
}

// putSnapshot gives a customer one that is wrong.
func (r *rig) putSnapshot(id string) string {
	r.t.Helper()
	s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: id,
		Subscriptions: []entitlement.Subscription{{ID: "sub_x", Status: "active"}}}
	if _, err := r.bucket().Put(r.t.Context(), id, s.Encode()); err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) backfilled(customers int) []string {
	r.t.Helper()
	ids := r.load(customers)
	if _, err := r.operator().Backfill(r.t.Context(), sweep.Options{}); err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// changeSilently changes every nth customer that has an active subscription.
func (r *rig) changeSilently(ids []string, nth int) {
	r.t.Helper()
	for i, id := range ids {
		truth, _ := r.sim.Truth(id)
		for _, sub := range truth.Subscriptions {
			if i%nth == 0 && sub.Status == "active" {
				if err := r.sim.Silent().UpdateSubscription(sub.ID, map[string]string{"silent": "change"}); err != nil {
					r.t.Fatal(err)
				}
			}
		}
	}
}

func prepareSweep(r *rig) []string {
	ids := r.backfilled(8)
	r.changeSilently(ids, 3)
	return append(ids, r.putSnapshot("cus_unlisted"))
}

// prepareDecide applies a document that changes every snapshot, and the next check of those that are
// past_due.
func prepareDecide(r *rig) []string {
	ids := r.backfilled(8)
	r.apply(1, "{default: {features: [view]}, access: {past_due: 1h}}")
	return ids
}

// allDecided checks that every snapshot is decided under the document that [rig.apply] applied last,
// and that its customer's wake is its own.
func (r *rig) allDecided() {
	r.t.Helper()
	sync, err := r.js.Stream(r.t.Context(), topology.SyncStream)
	if err != nil {
		r.t.Fatal(err)
	}
	for item, err := range streams.Items(r.t.Context(), r.js, entitlement.Bucket(entitlement.Test)) {
		if err != nil {
			r.t.Fatal(err)
		}
		s, err := entitlement.Decode(item.Value)
		if err != nil || s.PlansRevision != r.document.Number {
			r.t.Errorf("%v, %s", err, item.Value)
		}
		due, waits := plans.NextLook(&s, time.Now())
		m, err := sync.GetLastMsgForSubject(r.t.Context(), stripeevent.WakeSubject(ours(item.Key)))
		switch {
		case !waits && errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			r.t.Errorf("the wake of %s: %v", item.Key, err)
		case m.Header.Get(jetstream.ScheduleHeader) != "@at "+due.UTC().Format(time.RFC3339Nano):
			r.t.Errorf("the wake of %s is %s, its snapshot wants %s", item.Key, m.Header.Get(jetstream.ScheduleHeader), due)
		}
	}
}

func prepareRelief(r *rig) []string {
	ids := r.backfilled(8)
	r.changeSilently(ids, 2)
	for _, id := range ids {
		r.mark(ours(id))
	}
	return ids
}

func prepareRecover(r *rig) (ids []string) {
	for range 2 {
		c := r.customer()
		r.subscribe(c)
		ids = append(ids, c.ID)
	}
	for i, e := range r.sim.Events() {
		if i%3 == 0 {
			r.deliver(e)
		}
	}
	return ids
}

func prepareFanout(r *rig) []string {
	ids := r.backfilled(6)
	if err := errands()["fan-out"].do(r.t.Context(), r.operator().s); err != nil {
		r.t.Fatal(err)
	}
	r.renamePrice()
	return ids
}
