package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

func ours(id string) stripeevent.Customer {
	return stripeevent.Customer{Mode: entitlement.Test, ID: id}
}

func (r *rig) bucket() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

// purge forgets a customer's snapshot, as `entitled forget` does.
func (r *rig) purge(c stripeevent.Customer) {
	r.t.Helper()
	if err := r.bucket().Purge(r.t.Context(), c.Key()); err != nil {
		r.t.Fatal(err)
	}
}

// A forgotten customer that Stripe still has is written again, over the delete marker; one that was
// deleted at Stripe too stays forgotten.
func TestBackfillAfterForgetting(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(20)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	r.purge(ours(ids[3]))
	if err := r.sim.Silent().DeleteCustomer(ids[4]); err != nil {
		t.Fatal(err)
	}
	r.purge(ours(ids[4]))
	rep, err := o.Backfill(t.Context(), sweep.Options{})
	if err != nil || rep.Created != 1 || rep.Deleted != 0 || rep.Unchanged != len(ids)-1 {
		t.Errorf("report %+v, %v; want the one that Stripe has created, and nothing else", rep, err)
	}
	r.right("", []string{ids[3]})
	if _, _, there := r.snapshot(ours(ids[4])); there {
		t.Error("who was deleted and forgotten is back")
	}
	if sweep, err := o.Sweep(t.Context(), sweep.Options{}); err != nil || sweep.Marked != 0 {
		t.Errorf("sweep %+v, %v; want no customer marked", sweep, err)
	}
}

// A backfill does not write a customer that is forgotten while it reads.
func TestForgottenDuringABackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(*stripesim.Request) bool { return true })
	done := make(chan sweep.Report, 1)
	go func() { // done receives
		rep, err := o.Backfill(t.Context(), sweep.Options{})
		if err != nil {
			t.Errorf("backfill: %v", err)
		}
		done <- rep
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.purge(c)
	held.Release()
	if rep := <-done; rep.Left != 1 {
		t.Errorf("report %+v, want one left", rep)
	}
	if _, _, there := r.snapshot(c); there {
		t.Error("it is back")
	}
}

// A sync whose fetch began before another wrote, and before that was forgotten, does not write what
// it read.
func TestSyncOverAForgottenSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s.store
	ctx, c := t.Context(), ours("cus_1")
	_, before, err := s.Snapshot(ctx, c.Key())
	if err != nil {
		t.Fatal(err)
	}
	written, err := s.WriteSnapshot(ctx, c.Key(), []byte("another's"), before)
	if err != nil {
		t.Fatal(err)
	}
	r.purge(c)
	if _, err := s.WriteSnapshot(ctx, c.Key(), []byte("old"), before); !errors.Is(err, protocol.ErrConflict) {
		t.Errorf("write over what was there and is forgotten: %v, want a conflict", err)
	}
	data, revision, err := s.Snapshot(ctx, c.Key())
	if err != nil || data != nil || revision <= written {
		t.Fatalf("forgotten: %q at revision %d, %v", data, revision, err)
	}
	if _, err := s.WriteSnapshot(ctx, c.Key(), []byte("new"), revision); err != nil {
		t.Errorf("write by a sync that began afterwards: %v", err)
	}
}

// Forgotten between its write and its wake, a customer has no check that would bring it back.
func TestNoWakeForTheForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	c := ours("cus_1")
	next := entitlement.Snapshot{Schema: entitlement.Schema, Customer: c.ID, Subscriptions: []entitlement.Subscription{
		{ID: "sub_1", Status: "active", CurrentPeriodEnd: time.Now().Add(time.Hour).Unix()},
	}}
	revision, err := o.s.store.WriteSnapshot(t.Context(), c.Key(), next.Encode(), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.purge(c)
	if err := o.s.protocol.Wake(t.Context(), c, next, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := o.s.store.Sync.GetLastMsgForSubject(t.Context(), stripeevent.WakeSubject(c)); !errors.Is(err,
		jetstream.ErrMsgNotFound) {
		t.Errorf("its wake: %v, want none", err)
	}
}

// The bucket is recreated while a backfill reads: its low revisions cannot be compared with the
// fence.
func TestBucketMadeAnewDuringABackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(30)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(*stripesim.Request) bool { return true })
	done := make(chan error, 1)
	go func() { // done receives
		_, err := o.Backfill(t.Context(), sweep.Options{})
		done <- err
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := entitlement.Bucket(entitlement.Test)
	if err := r.js.DeleteKeyValue(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	assets := topology.Syncer(topology.Options{}, entitlement.Test)
	if _, err := topology.Apply(t.Context(), r.js, assets, topology.ApplyOptions{AcceptLoss: true}); err != nil {
		t.Fatal(err)
	}
	newer := entitlement.Snapshot{Schema: entitlement.Schema, Customer: ids[0],
		Metadata: map[string]string{"newer": "yes"}}
	if _, err := r.bucket().Create(t.Context(), ids[0], newer.Encode()); err != nil {
		t.Fatal(err)
	}
	held.Release()
	if err := <-done; !errors.Is(err, store.ErrRecreated) {
		t.Errorf("backfill: %v, want %v", err, store.ErrRecreated)
	}
	if s, _, _ := r.snapshot(ours(ids[0])); s.Metadata["newer"] == "" {
		t.Error("what was written to the new bucket was overwritten by an older fetch")
	}
	if rep, err := o.Backfill(t.Context(), sweep.Options{}); err != nil || rep.Created != len(ids)-1 {
		t.Errorf("started again: %+v, %v", rep, err)
	}
	r.right("", ids)
}

// The last backfill to start goes on and ends; the one before it notices, and stops.
func TestBackfillTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(350)
	pages := 0
	// The first is held at its third page.
	held := r.sim.Hold(func(q *stripesim.Request) bool {
		if strings.HasSuffix(q.Path, "/subscriptions") {
			pages++
		}
		return pages == 3
	})
	first := make(chan error, 1)
	go func() { // first receives
		_, err := r.operator().Backfill(t.Context(), sweep.Options{})
		first <- err
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	rep, err := r.operator().Backfill(t.Context(), sweep.Options{})
	if err != nil || rep.Resumed == 0 {
		t.Errorf("second: %+v, %v; want it to go on and end", rep, err)
	}
	held.Release()
	if err := <-first; !errors.Is(err, sweep.ErrTakenOver) {
		t.Errorf("first: %v, want %v", err, sweep.ErrTakenOver)
	}
	r.right("", ids)
	if keys := r.stateKeys("backfill."); len(keys) != 0 {
		t.Errorf("left of the checkpoint: %v", keys)
	}
}

func (r *rig) stateKeys(prefix string) (keys []string) {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.StateBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	all, err := kv.ListKeys(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for k := range all.Keys() {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	return keys
}

// A parked customer that a backfill has written is parked no more: its snapshot is right.
func TestBackfillUnparks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	now := time.Now()
	if err := o.s.store.SetFailure(t.Context(), c, record.Failure{Failures: 20, ParkedAt: &now}, 0); err != nil {
		t.Fatal(err)
	}
	if rep, err := o.Backfill(t.Context(), sweep.Options{}); err != nil || rep.Created != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if f, _, err := o.s.store.Failure(t.Context(), c); err != nil || f.ParkedAt != nil {
		t.Errorf("still parked: %+v, %v", f, err)
	}
}

// A sweep leaves an entry that a newer version wrote, and marks the customer of one that is no
// snapshot, even if no listing has the customer.
func TestSweepAndForeignEntries(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(10)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		ids[0]:        fmt.Sprintf(`{"schema":%d,"customer":%q}`, entitlement.Schema+1, ids[0]),
		ids[1]:        `rubbish`,
		"cus_newer":   fmt.Sprintf(`{"schema":%d,"customer":"cus_newer"}`, entitlement.Schema+1),
		"cus_rubbish": `rubbish`,
	} {
		if _, err := r.bucket().Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	rep, err := o.Sweep(t.Context(), sweep.Options{})
	if err != nil || rep.Left != 1 || rep.Marked != 1 || rep.Unlisted != 1 || rep.Unchanged != 8 {
		t.Errorf("report %+v, %v; want one left, one marked, one unlisted", rep, err)
	}
}

// A bucket whose reading breaks off has not been read.
func TestEachSnapshotBreaksOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for i := range 2000 {
		if _, err := r.js.PublishAsync("$KV."+entitlement.Bucket(entitlement.Test)+fmt.Sprintf(".cus_%d", i),
			[]byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	<-r.js.PublishAsyncComplete()
	o := r.operator()
	err := o.s.store.EachSnapshot(t.Context(), entitlement.Test, store.Everyone,
		func(context.Context, stripeevent.Customer, []byte, uint64) error {
			o.s.nc.Close()
			return nil
		})
	if err == nil {
		t.Error("no error after the connection was closed")
	}
}
