package sweep

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

func (r *rig) apply(d *plans.Document) {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.PlansBucket)
	if err == nil {
		_, err = kv.Put(r.t.Context(), "test", d.Encode())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// grantingView grants everybody a feature.
func grantingView(number uint64) *plans.Document {
	return &plans.Document{Number: number, Default: &plans.Default{Features: []string{"view"}}}
}

// decided puts a snapshot without a subscription into the bucket, as a sync without a document writes
// it.
func (r *rig) decided(c stripeevent.Customer) (revision uint64) {
	r.t.Helper()
	s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: c.ID, Status: entitlement.StatusNone,
		AsOf: time.Unix(1, 0).UTC(), Metadata: map[string]string{}, Subscriptions: []entitlement.Subscription{}}
	plans.Decide(&s, nil)
	revision, err := r.store.WriteSnapshot(r.t.Context(), c.Key(), s.Encode(), 0)
	if err == nil {
		err = r.store.AppendRecord(r.t.Context(), c, record.Record{Revision: revision, Outcome: record.Created,
			EventsSeq: 1, Snapshot: &s})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return revision
}

func (r *rig) snapshot(c stripeevent.Customer) entitlement.Snapshot {
	r.t.Helper()
	data, _, err := r.store.Snapshot(r.t.Context(), c.Key())
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := entitlement.Decode(data)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// found is the group of a customer with a subscription, as a listing has it.
func found(c stripeevent.Customer) *group {
	return &group{customer: c, asOf: time.Unix(100, 0).UTC(), metadata: map[string]string{},
		subs: []entitlement.Subscription{{ID: "sub_1", Status: "active", Items: []entitlement.Item{},
			Metadata: map[string]string{}}}}
}

// A decision that is made again beside a backfill moves each snapshot to a higher revision. Its facts
// are not newer than the backfill's, so the backfill writes each customer all the same.
func TestBackfillBesideDecisions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all []*group
	for i := range 3 {
		c := ours(fmt.Sprint("cus_", i))
		r.decided(c)
		all = append(all, found(c))
	}
	sw := newSweep(r.cfg, Options{})
	sw.write, sw.trigger = true, stripeevent.TriggerBackfill
	var err error
	if sw.fence, err = r.store.ReadFence(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.apply(grantingView(1))
	for _, g := range all {
		if done, err := r.cfg.Protocol.DecideAgain(t.Context(), g.customer); err != nil || done.Outcome != record.Changed {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	if err := sw.settle(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if sw.done.Changed != 3 || sw.done.Left != 0 {
		t.Errorf("%+v", sw.done)
	}
	for _, g := range all {
		s := r.snapshot(g.customer)
		if len(s.Subscriptions) != 1 || !slices.Equal(s.Features, []string{"view"}) || s.PlansRevision != 1 ||
			s.FactsRevision != 0 {
			t.Errorf("%s", s.Encode())
		}
	}
	// A customer that was synced since the fence is left, also after a decision that was made again.
	c := all[0].customer
	r.apply(grantingView(2))
	if _, err := r.cfg.Protocol.DecideAgain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := sw.settle(t.Context(), []*group{{customer: c, asOf: time.Unix(101, 0)}}); err != nil || sw.done.Left != 1 {
		t.Errorf("%v, %+v", err, sw.done)
	}
}

// A backfill creates an entry under a document that is replaced before it has looked again. Deciding
// all entries again may have ended without this one.
func TestBackfillCreatesUnderAFormerDocument(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sw := newSweep(r.cfg, Options{})
	sw.write, sw.trigger = true, stripeevent.TriggerBackfill
	c := ours("cus_1")
	w, err := sw.compare(t.Context(), found(c), func() (plans.Reading, error) {
		return plans.ReadNever, nil
	})
	if err != nil || w == nil {
		t.Fatalf("%v, %v", w, err)
	}
	r.apply(grantingView(1))
	if err := sw.overwrite(t.Context(), []*overwrite{w}); err != nil {
		t.Fatal(err)
	}
	if s := r.snapshot(c); s.PlansRevision != 1 || len(s.Subscriptions) != 1 {
		t.Errorf("%s", s.Encode())
	}
	recs := r.records(c)
	if len(recs) != 2 || recs[1].Trigger != stripeevent.TriggerPlans || recs[1].EventsSeq != recs[0].EventsSeq {
		t.Errorf("%+v", recs)
	}
}

// A document that needs active entitlements has a sweep mark the customers that lack them; one that
// does not makes no drift of those that were read.
func TestSweepAndEntitlements(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := ours("cus_1")
	read := entitlement.Snapshot{Schema: entitlement.Schema, Customer: c.ID, Status: "active",
		Entitlements: []string{"sso"}, AsOf: time.Unix(1, 0).UTC(), Metadata: map[string]string{},
		Subscriptions: found(c).subs}
	never := *grantingView(1)
	never.StripeEntitlements = new(bool)
	plans.Decide(&read, &never)
	r.apply(&never)
	if _, err := r.store.WriteSnapshot(t.Context(), c.Key(), read.Encode(), 0); err != nil {
		t.Fatal(err)
	}
	compare := func() *sweep {
		t.Helper()
		sw := newSweep(r.cfg, Options{})
		sw.trigger = stripeevent.TriggerSweep
		var err error
		if sw.fence, err = r.store.ReadFence(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := sw.compare(t.Context(), found(c), func() (plans.Reading, error) {
			return plans.ReadNever, nil
		}); err != nil {
			t.Fatal(err)
		}
		return sw
	}
	if sw := compare(); sw.done.Unchanged != 1 || sw.done.Drift != 0 {
		t.Errorf("%+v", sw.done)
	}
	always, yes := *grantingView(2), true
	always.StripeEntitlements = &yes
	r.apply(&always)
	d := r.decided(ours("cus_2"))
	if _, err := r.cfg.Protocol.DecideAgain(t.Context(), ours("cus_2")); err != nil || d == 0 {
		t.Fatal(err)
	}
	c = ours("cus_2")
	if sw := compare(); sw.done.Unread != 1 || sw.done.Marked != 1 {
		t.Errorf("%+v", sw.done)
	}
}
