package syncer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
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

// A customer that was forgotten, and whom Stripe still has, is brought back over what took its entry away; one that was
// deleted at Stripe too stays forgotten.
func TestBackfillAfterForgetting(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(20)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	r.purge(ours(ids[3]))
	if err := r.sim.Silent().DeleteCustomer(ids[4]); err != nil {
		t.Fatal(err)
	}
	r.purge(ours(ids[4]))
	rep, err := o.Backfill(t.Context(), SweepOptions{})
	if err != nil || rep.Created != 1 || rep.Deleted != 0 || rep.Unchanged != len(ids)-1 {
		t.Errorf("report %+v, %v; want the one that Stripe has created, and nothing else", rep, err)
	}
	r.right("", []string{ids[3]})
	if _, _, there := r.snapshot(ours(ids[4])); there {
		t.Error("who was deleted and forgotten is back")
	}
	if sweep, err := o.Sweep(t.Context(), SweepOptions{}); err != nil || sweep.Marked != 0 {
		t.Errorf("sweep %+v, %v; want nobody marked", sweep, err)
	}
}

// Whoever is forgotten while a backfill reads is left alone by it.
func TestForgottenDuringABackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(*stripesim.Request) bool { return true })
	done := make(chan SweepReport, 1)
	go func() { // done receives
		rep, err := o.Backfill(t.Context(), SweepOptions{})
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

// A sync whose fetch began before another wrote, and before that was forgotten, does not write what it read.
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
	if _, err := s.WriteSnapshot(ctx, c.Key(), []byte("old"), before); !errors.Is(err, errConflict) {
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
	if err := o.s.protocol.wake(t.Context(), c, next, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := o.s.store.sync.GetLastMsgForSubject(t.Context(), stripeevent.WakeSubject(c)); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("its wake: %v, want none", err)
	}
}

// A sweep that records after a sync that began later takes nothing back of what that one covers.
func TestRecordOfASweepUncoversNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	c := ours("cus_1")
	if err := o.s.store.AppendRecord(t.Context(), c, Record{EventsSeq: 10, Revision: 7, Outcome: Changed}); err != nil {
		t.Fatal(err)
	}
	sw := o.s.newSweep(SweepOptions{})
	sw.fence = fence{EventsSeq: 3}
	w := &overwrite{group: &group{customer: c}, revision: 6, outcome: Unchanged}
	if err := sw.finish(t.Context(), []*overwrite{w}); err != nil {
		t.Fatal(err)
	}
	recs := r.records(c)
	last := recs[len(recs)-1]
	if last.Revision != 6 || last.EventsSeq != 10 {
		t.Errorf("record of revision %d covers events up to %d, want 6 and 10", last.Revision, last.EventsSeq)
	}
	if last.Snapshot == nil {
		t.Error("the write before left no record, and this one has no snapshot either")
	}
}

// The bucket is deleted and made anew while a backfill reads: its low revisions mean nothing to the fence.
func TestBucketMadeAnewDuringABackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(30)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(*stripesim.Request) bool { return true })
	done := make(chan error, 1)
	go func() { // done receives
		_, err := o.Backfill(t.Context(), SweepOptions{})
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
	newer := entitlement.Snapshot{Schema: entitlement.Schema, Customer: ids[0], Metadata: map[string]string{"newer": "yes"}}
	if _, err := r.bucket().Create(t.Context(), ids[0], newer.Encode()); err != nil {
		t.Fatal(err)
	}
	held.Release()
	if err := <-done; !errors.Is(err, errMadeAnew) {
		t.Errorf("backfill: %v, want %v", err, errMadeAnew)
	}
	if s, _, _ := r.snapshot(ours(ids[0])); s.Metadata["newer"] == "" {
		t.Error("what was written to the new bucket was overwritten by an older fetch")
	}
	if rep, err := o.Backfill(t.Context(), SweepOptions{}); err != nil || rep.Created != len(ids)-1 {
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
		_, err := r.operator().Backfill(t.Context(), SweepOptions{})
		first <- err
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	rep, err := r.operator().Backfill(t.Context(), SweepOptions{})
	if err != nil || rep.Resumed == 0 {
		t.Errorf("second: %+v, %v; want it to go on and end", rep, err)
	}
	held.Release()
	if err := <-first; !errors.Is(err, errTakenOver) {
		t.Errorf("first: %v, want %v", err, errTakenOver)
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
	if err := o.s.store.SetFailure(t.Context(), c, Failure{Failures: 20, ParkedAt: &now}, 0); err != nil {
		t.Fatal(err)
	}
	if rep, err := o.Backfill(t.Context(), SweepOptions{}); err != nil || rep.Created != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if f, _, err := o.s.store.Failure(t.Context(), c); err != nil || f.ParkedAt != nil {
		t.Errorf("still parked: %+v, %v", f, err)
	}
}

// What a newer version wrote is left to it, and what is no snapshot is marked, also when no listing has the customer.
func TestSweepAndForeignEntries(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(10)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
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
	rep, err := o.Sweep(t.Context(), SweepOptions{})
	if err != nil || rep.Left != 1 || rep.Marked != 1 || rep.Unlisted != 1 || rep.Unchanged != 8 {
		t.Errorf("report %+v, %v; want one left, one marked, one unlisted", rep, err)
	}
}

func pageOf(asOf time.Time, customers ...customer) page {
	return page{AsOf: asOf, Customers: customers}
}

func subs(ids ...string) (all []entitlement.Subscription) {
	for _, id := range ids {
		all = append(all, entitlement.Subscription{ID: id})
	}
	return all
}

func TestGroups(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	const born = 100_000
	tests := map[string]struct {
		pages []page
		// want of the one customer: when its reading began, its metadata, its subscriptions.
		asOf     int64
		metadata string
		subs     int
		deleted  bool
		late     int
	}{
		"as old as the first page of all": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_other", Created: born}),
				pageOf(at(30), customer{ID: "cus_1", Created: born, Subscriptions: subs("a")}),
			},
			asOf: 1, subs: 1,
		},
		"the page that was asked for last tells the metadata": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "1"}, Subscriptions: subs("a")}),
				pageOf(at(30), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "30"}, Subscriptions: subs("b")}),
				pageOf(at(10), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "10"}, Subscriptions: subs("c")}),
			},
			asOf: 1, metadata: "30", subs: 3,
		},
		"deleted on any page": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "1"}, Subscriptions: subs("a")}),
				pageOf(at(2), customer{ID: "cus_1", Deleted: true, Subscriptions: subs("b")}),
			},
			asOf: 1, deleted: true,
		},
		"deleted, and listed again": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_1", Deleted: true, Subscriptions: subs("a")}),
				pageOf(at(2), customer{ID: "cus_1", Deleted: true, Subscriptions: subs("b")}),
			},
			asOf: 1, deleted: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGroups(entitlement.Test, "")
			var got *group
			late := 0
			for i, p := range tt.pages {
				frontier := int64(born)
				if i == len(tt.pages)-1 {
					frontier = math.MinInt64
				}
				whole, again := g.add(p, frontier)
				late += len(again)
				for _, gr := range whole {
					if gr.customer.ID == "cus_1" {
						got = gr
					}
				}
			}
			if got == nil {
				t.Fatal("not handed on")
			}
			if got.asOf.Unix() != tt.asOf || got.metadata["n"] != tt.metadata || len(got.subs) != tt.subs || got.deleted != tt.deleted || late != tt.late {
				t.Errorf("as of %d, metadata %v, %d subscriptions, deleted %t, %d late", got.asOf.Unix(), got.metadata, len(got.subs), got.deleted, late)
			}
		})
	}
}

// Who was handed on is not kept, and who is deleted need not wait.
func TestGroupsForget(t *testing.T) {
	t.Parallel()
	g := newGroups(entitlement.Test, "")
	p := pageOf(time.Unix(1, 0), customer{ID: "cus_new", Created: 100_000, Subscriptions: subs("a")}, customer{ID: "cus_gone", Deleted: true})
	if whole, _ := g.add(p, 100_000-slack-1); len(whole) != 2 || len(g.open) != 0 || g.count() != 2 {
		t.Errorf("%d handed on, %d kept of %d", len(whole), len(g.open), g.count())
	}
	again := pageOf(time.Unix(2, 0), customer{ID: "cus_new", Created: 100_000, Subscriptions: subs("b")}, customer{ID: "cus_gone", Deleted: true})
	if _, late := g.add(again, 0); len(late) != 1 || late[0].ID != "cus_new" {
		t.Errorf("%v late, want the one of whom a part came after it was handed on", late)
	}
}

// lostAck is a PubAck that never comes.
type lostAck struct{ jetstream.PubAckFuture }

func (lostAck) Ok() <-chan *jetstream.PubAck { return nil }
func (lostAck) Err() <-chan error            { return nil }

// A PubAck that was lost with its leader ends the wait for it.
func TestLostPubAck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := (&store{ackWithin: ackWithin}).acked(ctx, lostAck{}); err == nil || ctx.Err() != nil {
			t.Errorf("error %v after %s", err, ackWithin)
		}
	})
}

// A bucket whose reading breaks off has not been read.
func TestEachSnapshotBreaksOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for i := range 2000 {
		if _, err := r.js.PublishAsync("$KV."+entitlement.Bucket(entitlement.Test)+fmt.Sprintf(".cus_%d", i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	<-r.js.PublishAsyncComplete()
	o := r.operator()
	err := o.s.store.eachSnapshot(t.Context(), entitlement.Test, everybody, func(context.Context, stripeevent.Customer, []byte, uint64) error {
		o.s.nc.Close()
		return nil
	})
	if err == nil {
		t.Error("no error after the connection was closed")
	}
}

// pagesOf answers with one page after the other, then with an error.
type pagesOf []page

func (p *pagesOf) Subscriptions(context.Context, stripeapi.PageQuery) (page, error) {
	if len(*p) == 0 {
		return page{}, errOfWire
	}
	next := (*p)[0]
	*p = (*p)[1:]
	return next, nil
}

// A customer of whom a part comes after it was taken for whole is marked when that is seen, and not only at the end of a sweep that may
// never come there.
func TestLateCustomersAreMarkedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	const born = 1_700_000_000
	first := pageOf(time.Unix(1, 0), customer{ID: "cus_1", Created: born, Subscriptions: subs("a")})
	first.Next, first.Count, first.Newest, first.Oldest = "sub_a", 1, born+slack, born-2*slack
	second := pageOf(time.Unix(2, 0), customer{ID: "cus_1", Created: born, Subscriptions: subs("b")})
	second.Next, second.Count, second.Newest, second.Oldest = "sub_b", 1, born-2*slack, born-2*slack
	sw := r.operator().s.newSweep(SweepOptions{})
	sw.trigger = stripeevent.TriggerSweep
	if _, err := sw.run(t.Context(), &listing{list: &pagesOf{first, second}}); !errors.Is(err, errOfWire) {
		t.Fatalf("%v, want %v", err, errOfWire)
	}
	if left := r.markers("cus_1"); left[0] != 1 {
		t.Errorf("%d markers, want the one that reads it again", left[0])
	}
}
