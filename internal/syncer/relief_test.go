package syncer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/timing"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// After an outage with more dirty customers than pages, one of the syncers sweeps the account, and
// the markers are done without a request each. What a webhook marks meanwhile is synced as ever.
func TestSyncersTakeTheSweepThemselves(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Rate = 50 })
	ids := r.load(400)
	if _, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	// The outage: every customer changes, and no syncer runs.
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
	r.awaitIdleFor(2 * patience) // a marker that gives way to the sweep is put off each time
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
	for _, m := range r.stored(topology.SyncedStream, "stripe.synced.>") {
		var rec record.Record
		if err := json.Unmarshal(m.Data(), &rec); err != nil {
			r.t.Fatal(err)
		}
		if rec.Trigger == trigger {
			n++
		}
	}
	return n
}

// A syncer that dies while it sweeps delays the others only for a while: its entry stays unchanged,
// and the markers are synced.
func TestDeadReliefHoldsNothing(t *testing.T) {
	t.Parallel()
	r := &reliever{Store: &store.Store{Timing: timing.Production}}
	r.last, r.since = store.Relief{Active: true, MarkersEnd: store.MarkersEnd{Seq: 10},
		Lane: stripeevent.Now}, time.Now()
	if !r.Yields(protocol.Task{Seq: 10}) || r.Yields(protocol.Task{Seq: 11}) || r.Yields(protocol.Task{}) {
		t.Error("markers up to 10 give way, later ones and requests do not")
	}
	if r.Yields(protocol.Task{Seq: 10, Customer: stripeevent.Customer{Account: "acct_1", ID: "cus_1"}}) {
		t.Error("a customer that no listing of one's own account has gives way")
	}
	r.last.Lane = stripeevent.Bulk
	if r.Yields(protocol.Task{Seq: 10, Lane: stripeevent.Now}) ||
		!r.Yields(protocol.Task{Seq: 10, Lane: stripeevent.Bulk}) {
		t.Error("a sweep for bulk work holds back what a webhook marked, or does not go before bulk work")
	}
	r.last.Lane = stripeevent.Now
	r.since = time.Now().Add(-timing.Production.ReliefDead)
	if r.Yields(protocol.Task{Seq: 10}) {
		t.Error("a relief whose entry stands still holds markers back")
	}
}

// Customers that are written while the fence is older than a slow page keep what their own syncs
// wrote.
func TestReliefLeavesWhoWasSyncedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	r.mark(c)
	end, err := o.s.store.MarkersEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(q *stripesim.Request) bool { return q.Query.Get("customer") == "" })
	done := make(chan sweep.Report, 1)
	go func() { // done receives
		rep, err := sweep.Relieve(t.Context(), o.s.sweeps(), stripeevent.Now, end)
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

// Where a sweep is worth it: in the lane for webhooks if those alone are enough, never for
// customers of connected accounts.
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
	i, err := inspect.Open(t.Context(), r.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
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
		marked := uint64(r.pendingMarkers())
		natstest.Eventually(t, patience, func() error { // a consumer counts a message some time after its PubAck
			now, err := i.Lane(t.Context(), stripeevent.Now)
			if err != nil {
				return err
			}
			if bulk, err := i.Lane(t.Context(), stripeevent.Bulk); err != nil || now.Len()+bulk.Len() != marked {
				return fmt.Errorf("%+v and %+v, %v; want %d markers", now, bulk, err, marked)
			}
			return nil
		})
		lane, dirty, _, err := o.s.weigh(t.Context())
		if err != nil || lane != step.want || dirty != step.dirty {
			t.Errorf("%d more of %q in %s: lane %q, %d dirty, %v; want %q, %d", step.n, step.account, step.lane,
				lane, dirty, err, step.want, step.dirty)
		}
	}
}

// A beat that was written while its answer was lost does not end the sweep; another's run does.
func TestReliefKnowsItsOwnBeat(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	mine := store.Relief{Run: "mine", Active: true}
	if _, err := store.ReliefEntry(s.store.State, entitlement.Test).Set(t.Context(), mine, 0); err != nil {
		t.Fatal(err)
	}
	revision, err := s.ownRelief(t.Context(), "mine")
	if err != nil || revision == 0 {
		t.Fatalf("own entry: revision %d, %v", revision, err)
	}
	if _, err := store.ReliefEntry(s.store.State, entitlement.Test).Set(t.Context(), store.Relief{Run: "another's"},
		revision); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ownRelief(t.Context(), "mine"); !errors.Is(err, errTakenOver) {
		t.Errorf("another's entry: %v, want %v", err, errTakenOver)
	}
}

// A relief's write settles the customer's marker, if there is one, whether the snapshot changed or
// not.
func TestReliefSettlesMarkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(3)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	r.mark(ours(ids[0]))
	end, err := o.s.store.MarkersEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.mark(ours(ids[1])) // behind the noted end
	rep, err := sweep.Relieve(t.Context(), o.s.sweeps(), stripeevent.Now, end)
	if err != nil || rep.Unchanged != len(ids) {
		t.Fatalf("%+v, %v", rep, err)
	}
	for i, want := range []uint64{end.Seq, 0, 0} {
		recs := r.records(ours(ids[i]))
		if last := recs[len(recs)-1]; last.MarkerSeq != want || (want != 0) != (len(recs) == 2) {
			t.Errorf("customer %d: %d records, the last one settles markers up to %d, want %d", i, len(recs),
				last.MarkerSeq, want)
		}
	}
	// The settled marker is removed; the later one stays.
	for i, want := range []bool{false, true, false} {
		subject := stripeevent.SyncSubject(stripeevent.Now, ours(ids[i]))
		if seq, err := o.s.store.NewestMarker(t.Context(), subject); err != nil || (seq != 0) != want {
			t.Errorf("customer %d has marker %d, %v; want one: %t", i, seq, err, want)
		}
	}
}

// markers is how many markers each of the customers has left.
func (r *rig) markers(ids ...string) (left []int) {
	r.t.Helper()
	for _, id := range ids {
		n := 0
		for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
			seq, err := r.operator().s.store.NewestMarker(r.t.Context(), stripeevent.SyncSubject(lane, ours(id)))
			if err != nil {
				r.t.Fatal(err)
			}
			if seq != 0 {
				n++
			}
		}
		left = append(left, n)
	}
	return left
}

// In a STRIPE_SYNC that was recreated, or has lost its end, a marker has a low sequence although it
// was stored after the pages were read.
func TestReliefLeavesMarkersOfAnotherStream(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end func(e *store.MarkersEnd)
		// settled says that the record is of the marker, removed that the marker is gone.
		settled, removed bool
	}{
		"as it was":                       {end: func(*store.MarkersEnd) {}, settled: true, removed: true},
		"stored later, at a low sequence": {end: func(e *store.MarkersEnd) { e.At = e.At.Add(-time.Second) }},
		"recreated since":                 {end: func(e *store.MarkersEnd) { e.Stream = e.Stream.Add(-time.Second) }, settled: true},
		"its end lost since":              {end: func(e *store.MarkersEnd) { e.Seq += 10 }, settled: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			ids := r.backfilled(1)
			r.mark(ours(ids[0]))
			o := r.operator(quiet)
			end, err := o.s.store.MarkersEnd(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tt.end(&end)
			if _, err := sweep.Relieve(t.Context(), o.s.sweeps(), stripeevent.Now, end); err != nil {
				t.Fatal(err)
			}
			recs := r.records(ours(ids[0]))
			if settled := recs[len(recs)-1].MarkerSeq == end.Seq; settled != tt.settled {
				t.Errorf("settled %t, want %t", settled, tt.settled)
			}
			if removed := r.markers(ids[0])[0] == 0; removed != tt.removed {
				t.Errorf("removed %t, want %t", removed, tt.removed)
			}
		})
	}
}

// A NATS user who may not remove markers, as in the nats.conf of an older version, sweeps all the
// same.
func TestReliefWithoutTheRightToRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.backfilled(40)
	for _, id := range ids {
		r.mark(ours(id))
	}
	var log bytes.Buffer
	s := r.operator(func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }).s
	// No server answers there.
	js, err := jetstream.NewWithAPIPrefix(r.conn(t), "NONE", jetstream.WithDefaultTimeout(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s.store.Sync = refusesDeletes{s.store.Sync, js}
	end, err := s.store.MarkersEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rep, err := sweep.Relieve(t.Context(), s.sweeps(), stripeevent.Now, end)
	if err != nil || rep.Unchanged != len(ids) {
		t.Fatalf("%+v, %v", rep, err)
	}
	for _, id := range ids {
		recs := r.records(ours(id))
		if recs[len(recs)-1].MarkerSeq != end.Seq {
			t.Errorf("%s: its record settles no marker", id)
		}
	}
	if n := strings.Count(log.String(), "settled markers not removed"); n != 1 ||
		!strings.Contains(log.String(), "STREAM.MSG.DELETE.STRIPE_SYNC") {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// refusesDeletes is a stream that may not be deleted from: NATS drops what a user may not publish.
type refusesDeletes struct {
	jetstream.Stream
	js jetstream.JetStream
}

func (s refusesDeletes) DeleteMsg(ctx context.Context, _ uint64) error {
	_, err := s.js.Stream(ctx, topology.SyncStream)
	return err
}

// The failures of a customer whose sync failed during the sweep are cleared too, because no syncer
// will get its marker again.
func TestReliefForgetsFailures(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.backfilled(1)
	r.mark(ours(ids[0]))
	s := r.operator().s
	end, err := s.store.MarkersEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held := r.sim.Hold(func(q *stripesim.Request) bool { return q.Query.Get("customer") == "" })
	done := make(chan error, 1)
	go func() { // done receives
		_, err := sweep.Relieve(t.Context(), s.sweeps(), stripeevent.Now, end)
		done <- err
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.store.SetFailure(t.Context(), ours(ids[0]), record.Failure{Failures: 3}, 0); err != nil {
		t.Fatal(err)
	}
	held.Release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if f, revision, err := s.store.Failure(t.Context(), ours(ids[0])); err != nil || revision != 0 {
		t.Errorf("%+v at revision %d, %v", f, revision, err)
	}
}

// A concurrent sweep must not rely on a marker that a relief is about to settle, because the relief
// may have read the customer earlier.
func TestSweepBesideARelief(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.backfilled(1)
	r.changeSilently(ids, 1)
	r.mark(ours(ids[0]))
	o := r.operator()
	end, err := o.s.store.MarkersEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	revision := uint64(0)
	for _, step := range []struct {
		name            string
		entry           store.Relief
		waiting, marked int
	}{
		{"a relief of older markers", store.Relief{Active: true, MarkersEnd: store.MarkersEnd{Seq: end.Seq - 1}}, 1, 0},
		{"one that settles this marker", store.Relief{Active: true, MarkersEnd: end}, 0, 1},
	} {
		if revision, err = store.ReliefEntry(o.s.store.State, entitlement.Test).Set(t.Context(), step.entry,
			revision); err != nil {
			t.Fatal(err)
		}
		rep, err := o.Sweep(t.Context(), sweep.Options{})
		if err != nil || rep.Waiting != step.waiting || rep.Marked != step.marked {
			t.Errorf("%s: %+v, %v; want %d waiting, %d marked", step.name, rep, err, step.waiting, step.marked)
		}
	}
}
