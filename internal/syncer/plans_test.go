package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// plansBucket is the bucket of the plans documents.
func (r *rig) plansBucket() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.PlansBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

// apply puts a document in force.
func (r *rig) apply(number uint64, text string) {
	r.t.Helper()
	d, _, err := plans.Parse([]byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	d.Number, r.document = number, d
	if _, err := r.plansBucket().Put(r.t.Context(), "test", d.Encode()); err != nil {
		r.t.Fatal(err)
	}
}

// readings counts the requests to Stripe that read a customer; meanwhile events are listed, and features.
func (r *rig) readings() (n int) {
	for _, req := range r.sim.Requests() {
		if !strings.HasPrefix(req.Path, "/v1/events") && req.Path != listsFeatures {
			n++
		}
	}
	return n
}

// awaitDecided waits until all snapshots are decided under a document.
func (r *rig) awaitDecided(number uint64) (note store.Decided) {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.StateBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	natstest.Eventually(r.t, patience, func() error {
		v, err := store.DecidedEntry(kv, entitlement.Test).Get(r.t.Context())
		if note = v.V; err == nil && (note.Number != number || note.Running) {
			err = fmt.Errorf("%+v, want document %d", note, number)
		}
		return err
	})
	return note
}

// refusesPlans waits until the syncer says that the document in force cannot be used.
func refusesPlans(t *testing.T, ready *daemon.Readiness, why string) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		err := ready.Err()
		if err == nil {
			return errors.New("ready")
		}
		for _, text := range []string{"plans: plans document not usable", why, "entitled plans apply"} {
			if !strings.Contains(err.Error(), text) {
				return fmt.Errorf("%w\nlacks %q", err, text)
			}
		}
		return nil
	})
}

const (
	proPlan     = "plans: {pro: {match: {lookup_key: pro_monthly}, features: [export]}}"
	proPlanMore = "plans: {pro: {match: {lookup_key: pro_monthly}, features: [export, sso]}}"
)

// A document that is applied decides every snapshot again, without a request to Stripe; so does each
// one after it. Facts, as_of and coverage stay.
func TestPlansDecideAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.start()
	r.start()
	var all []stripeevent.Customer
	before := map[stripeevent.Customer]entitlement.Snapshot{}
	for range 20 {
		c := r.customer()
		r.subscribe(c)
		r.event(c)
		r.mark(c)
		all = append(all, c)
	}
	without := r.customer() // without a subscription, no document changes it
	r.mark(without)
	r.awaitIdle()
	first := r.awaitDecided(0)
	if first.Deciding != 0 {
		t.Errorf("noted %+v", first)
	}
	for _, c := range append(all, without) {
		before[c], _, _ = r.snapshot(c)
	}
	requests := r.readings()

	r.apply(1, proPlan)
	r.awaitDecided(1)
	for _, c := range all {
		s, revision, _ := r.snapshot(c)
		old := before[c]
		if !slices.Equal(s.Features, []string{"export"}) || s.PlansRevision != 1 || s.FactsRevision == 0 ||
			s.FactsRevision >= revision || !s.AsOf.Equal(old.AsOf) || s.Cause.Trigger != stripeevent.TriggerPlans ||
			!s.ChangedAt.After(s.AsOf) {
			t.Fatalf("%s", s.Encode())
		}
		if was, is := plans.Facts(old), plans.Facts(s); !was.Equal(&is) {
			t.Errorf("facts changed: %v", entitlement.Diff(&was, &is))
		}
		records := r.records(c)
		last := records[len(records)-1]
		if len(records) != 2 || last.Trigger != stripeevent.TriggerPlans || last.Outcome != record.Changed ||
			last.EventsSeq != records[0].EventsSeq || last.MarkerSeq != 0 || last.Revision != revision ||
			last.StripeRequests != 0 || !slices.Contains(last.Changed, "features") {
			t.Errorf("record %+v", last)
		}
	}
	if s, _, _ := r.snapshot(without); s.PlansRevision != 1 || s.Cause != before[without].Cause ||
		!s.ChangedAt.Equal(before[without].ChangedAt) || len(r.records(without)) != 1 {
		t.Errorf("unchanged: %s", s.Encode())
	}

	r.apply(2, proPlanMore)
	r.awaitDecided(2)
	if got := r.readings(); got != requests {
		t.Errorf("%d customers read from Stripe", got-requests)
	}
	for _, c := range all {
		if s, _, _ := r.snapshot(c); !slices.Equal(s.Features, []string{"export", "sso"}) ||
			len(r.records(c)) != 3 {
			t.Errorf("%s", s.Encode())
		}
	}
	// A sync after it reads facts of its own, and its record has the snapshot that is not recorded yet.
	r.mark(without)
	r.awaitRecords(without, 2)
	if s, _, _ := r.snapshot(without); s.FactsRevision != 0 || s.PlansRevision != 2 {
		t.Errorf("%s", s.Encode())
	}
}

// Each decision that leaves problems in a snapshot is counted, also one that is made again.
func TestProblemsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.apply(1, "metadata: [customer]")
	cfg := r.config()
	cfg.NATS = r.conn(t)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // the cleanup receives
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	count := func(n float64) {
		t.Helper()
		if got := testutil.ToFloat64(s.metrics.problems); got != n {
			t.Errorf("counted %v, want %v", got, n)
		}
	}
	good, bad := r.customer(), r.customer()
	r.mark(good)
	r.awaitRecords(good, 1)
	count(0)
	if err := r.sim.UpdateCustomer(bad.ID, map[string]string{"entitled_plna": "pro"}); err != nil {
		t.Fatal(err)
	}
	r.mark(bad)
	r.awaitRecords(bad, 1)
	count(1)
	r.awaitDecided(1)
	r.apply(2, "{metadata: [customer], default: {features: [view]}}")
	r.awaitDecided(2)
	count(2)
}

// A document that cannot be used stops the deciding, and takes nothing from anybody; the next one
// that is applied mends it.
func TestPlansNotUsable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(r *rig) error
		why   string
	}{
		"deleted": {func(r *rig) error { return r.plansBucket().Delete(r.t.Context(), "test") }, "was deleted"},
		"purged":  {func(r *rig) error { return r.plansBucket().Purge(r.t.Context(), "test") }, "was deleted"},
		"emptied": {func(r *rig) error {
			stream, err := r.js.Stream(r.t.Context(), "KV_"+topology.PlansBucket)
			if err != nil {
				return err
			}
			return stream.Purge(r.t.Context())
		}, "number 5 was in force"},
		"foreign": {func(r *rig) error {
			_, err := r.plansBucket().PutString(r.t.Context(), "test", `{"colour": "red"}`)
			return err
		}, "key test of bucket entitled_plans"},
		"older": {func(r *rig) error { r.apply(4, proPlan); return nil }, "it has number 4, and number 5 was in force"},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s restarted %t", name, restarted), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				r.apply(5, proPlan)
				ready, stop := r.launch()
				works(t, ready)
				cus := r.customer()
				r.subscribe(cus)
				r.mark(cus)
				has := func(s entitlement.Snapshot) bool { return slices.Equal(s.Features, []string{"export"}) }
				r.await(cus, "export", has)
				r.awaitIdle()
				if restarted {
					stop()
				}
				if err := c.spoil(r); err != nil {
					t.Fatal(err)
				}
				if restarted {
					ready, _ = r.launch()
					// A lesser number shows at the first snapshot that has a greater one.
					r.mark(cus)
				}
				refusesPlans(t, ready, c.why)
				r.mark(cus)
				if s, _, _ := r.snapshot(cus); !has(s) || s.PlansRevision != 5 {
					t.Errorf("%s", s.Encode())
				}
				r.apply(6, proPlanMore)
				r.await(cus, "sso", func(s entitlement.Snapshot) bool { return s.PlansRevision == 6 && len(s.Features) == 2 })
				works(t, ready)
				r.awaitIdle()
			})
		}
	}
}

// A bucket that is recreated counts its revisions from 1 again: the document in it is another than
// the one that was read at the same revision.
func TestPlansBucketRecreated(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.apply(1, proPlan)
	r.start()
	cus := r.customer()
	r.subscribe(cus)
	r.mark(cus)
	r.await(cus, "export", func(s entitlement.Snapshot) bool { return slices.Equal(s.Features, []string{"export"}) })
	name := "KV_" + topology.PlansBucket
	stream, err := r.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	// The syncer may recreate it first.
	if _, err := r.js.CreateOrUpdateStream(t.Context(), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	r.apply(2, proPlanMore)
	r.awaitDecided(2)
	if s, _, _ := r.snapshot(cus); s.PlansRevision != 2 || !slices.Equal(s.Features, []string{"export", "sso"}) {
		t.Errorf("%s", s.Encode())
	}
}
