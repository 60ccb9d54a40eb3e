package syncer

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
)

// After an outage with more dirty customers than pages, one of the syncers sweeps the account, and the markers are done
// without a request each. What a webhook marks meanwhile is synced as ever.
func TestSyncersTakeTheSweepThemselves(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Rate = 50 })
	ids := r.load(400)
	if _, err := r.operator().Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	// The outage: everybody changes, nobody syncs.
	for _, id := range ids {
		truth, _ := r.sim.Truth(id)
		for _, sub := range truth.Subscriptions {
			if sub.Status == "active" {
				if err := r.sim.UpdateSubscription(sub.ID, map[string]string{"outage": "yes"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.event(stripeevent.Customer{Mode: entitlement.Test, ID: id})
		r.mark(stripeevent.Customer{Mode: entitlement.Test, ID: id})
	}
	// Without subscriptions, a customer is in no listing: only its own sync brings it.
	bare := r.customer()
	r.mark(bare)
	r.publishJob("relief")
	r.sim.ResetLog()
	r.start()
	r.start()
	r.awaitIdle()
	if n := r.sim.Stats().Requests; n > len(ids)/2 {
		t.Errorf("%d requests for %d dirty customers", n, len(ids))
	}
	r.right("", ids)
	r.await(bare, "none", status(entitlement.StatusNone))
	// Some are synced before the sweep begins.
	if swept := r.recordsBy(stripeevent.TriggerSweep); swept < len(ids)/2 {
		t.Errorf("%d of %d customers were brought by the sweep", swept, len(ids))
	}
}

// recordsBy counts the records of a trigger.
func (r *rig) recordsBy(trigger string) (n int) {
	r.t.Helper()
	cons, err := r.js.OrderedConsumer(r.t.Context(), topology.SyncedStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	batch, err := cons.FetchNoWait(10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	for m := range batch.Messages() {
		var rec Record
		if err := json.Unmarshal(m.Data(), &rec); err != nil {
			r.t.Fatal(err)
		}
		if rec.Trigger == trigger {
			n++
		}
	}
	return n
}

// A syncer that dies while it sweeps stops nobody for long: its entry stands still, and the markers are synced.
func TestDeadReliefHoldsNothing(t *testing.T) {
	t.Parallel()
	r := &reliever{}
	r.last, r.since = relief{Active: true, Markers: 10, Lane: stripeevent.Now}, time.Now()
	if !r.yields(task{seq: 10}) || r.yields(task{seq: 11}) || r.yields(task{}) {
		t.Error("markers up to 10 give way, later ones and requests do not")
	}
	if r.yields(task{seq: 10, customer: stripeevent.Customer{Account: "acct_1", ID: "cus_1"}}) {
		t.Error("a customer that no listing of one's own account has gives way")
	}
	r.last.Lane = stripeevent.Bulk
	if r.yields(task{seq: 10, lane: stripeevent.Now}) || !r.yields(task{seq: 10, lane: stripeevent.Bulk}) {
		t.Error("a sweep for bulk work holds back what a webhook marked, or does not go before bulk work")
	}
	r.last.Lane = stripeevent.Now
	r.since = time.Now().Add(-reliefDead)
	if r.yields(task{seq: 10}) {
		t.Error("a relief whose entry stands still holds markers back")
	}
}

// Customers that are written while the fence is older than a slow page keep what their own syncs wrote.
func TestReliefLeavesWhoWasSyncedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	r.mark(c)
	info, err := o.s.store.sync.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(q *stripesim.Request) bool { return q.Query.Get("customer") == "" })
	done := make(chan SweepReport, 1)
	go func() { // done receives
		rep, err := o.s.sweepDirty(t.Context(), relief{Markers: info.State.LastSeq, At: info.State.LastTime, Lane: stripeevent.Now})
		if err != nil {
			t.Errorf("sweep: %v", err)
		}
		done <- rep
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.await(c, "canceled", status("canceled"))
	held.Release()
	if rep := <-done; rep.Left != 1 {
		t.Errorf("report %+v, want one left", rep)
	}
	if s, _, _ := r.snapshot(c); s.Status != "canceled" {
		t.Errorf("status %s after the slow page", s.Status)
	}
}

// Where a sweep is worth it: in the lane for webhooks if those alone are enough, never for customers of connected accounts.
func TestReliefWeighs(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	mark := func(lane stripeevent.Lane, account string, n int) {
		t.Helper()
		for i := range n {
			c := stripeevent.Customer{Mode: entitlement.Test, Account: account, ID: fmt.Sprintf("cus_%s%d", account, i)}
			if _, err := r.js.Publish(t.Context(), stripeevent.SyncSubject(lane, c), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		lane    stripeevent.Lane
		account string
		n       int
		want    stripeevent.Lane
		dirty   int
	}{
		{stripeevent.Now, "", reliefFrom / 2, "", 0},
		{stripeevent.Now, "acct_1", reliefFrom, "", reliefFrom / 2},
		{stripeevent.Bulk, "", reliefFrom, stripeevent.Bulk, reliefFrom/2 + reliefFrom},
		{stripeevent.Now, "", reliefFrom, stripeevent.Now, 2 * reliefFrom},
	} {
		mark(step.lane, step.account, step.n)
		lane, dirty, _, err := o.s.weigh(t.Context())
		if err != nil || lane != step.want || dirty != step.dirty {
			t.Errorf("%d more of %q in %s: lane %q, %d dirty, %v; want %q, %d", step.n, step.account, step.lane, lane, dirty, err, step.want, step.dirty)
		}
	}
}

// A beat that was written while its answer was lost does not end the sweep; another's run does.
func TestReliefKnowsItsOwnBeat(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	mine := relief{Run: "mine", Active: true}
	if _, err := s.setRelief(t.Context(), mine, 0); err != nil {
		t.Fatal(err)
	}
	revision, err := s.ownRelief(t.Context(), "mine")
	if err != nil || revision == 0 {
		t.Fatalf("own entry: revision %d, %v", revision, err)
	}
	if _, err := s.setRelief(t.Context(), relief{Run: "another's"}, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ownRelief(t.Context(), "mine"); !errors.Is(err, errTakenOver) {
		t.Errorf("another's entry: %v, want %v", err, errTakenOver)
	}
}

// What a relief writes for a customer without a marker settles none, and what it writes for one with a marker does,
// changed or not.
func TestReliefSettlesMarkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(3)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	r.mark(ours(ids[0]))
	info, err := o.s.store.sync.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.mark(ours(ids[1])) // behind the noted end
	rep, err := o.s.sweepDirty(t.Context(), relief{Markers: info.State.LastSeq, At: info.State.LastTime, Lane: stripeevent.Now})
	if err != nil || rep.Unchanged != len(ids) {
		t.Fatalf("%+v, %v", rep, err)
	}
	for i, want := range []uint64{info.State.LastSeq, 0, 0} {
		recs := r.records(ours(ids[i]))
		if last := recs[len(recs)-1]; last.MarkerSeq != want || (want != 0) != (len(recs) == 2) {
			t.Errorf("customer %d: %d records, the last one settles markers up to %d, want %d", i, len(recs), last.MarkerSeq, want)
		}
	}
	// The marker that is settled is handed to nobody any more; the later one stays.
	for i, want := range []bool{false, true, false} {
		subject := stripeevent.SyncSubject(stripeevent.Now, ours(ids[i]))
		if seq, err := o.s.store.NewestMarker(t.Context(), subject); err != nil || (seq != 0) != want {
			t.Errorf("customer %d has marker %d, %v; want one: %t", i, seq, err, want)
		}
	}
}
