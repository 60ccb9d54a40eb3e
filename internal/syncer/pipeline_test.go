package syncer

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

func status(want string) func(entitlement.Snapshot) bool {
	return func(s entitlement.Snapshot) bool { return s.Status == want }
}

func TestMarkerBecomesSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	r.start()
	seq := r.event(c)
	r.mark(c)
	s := r.await(c, "active", status("active"))
	if !s.Access || s.Cause.Event != "evt_1" || s.ChangedAt != s.AsOf {
		t.Errorf("snapshot %s: want access, cause evt_1 and changed_at = as_of", s.Encode())
	}
	recs := r.awaitRecords(c, 1)
	rec := recs[0]
	if rec.Outcome != record.Created || rec.EventsSeq < seq || rec.StripeRequests != 1 ||
		len(rec.StripeRequestIDs) != 1 ||
		rec.Snapshot == nil || rec.ReceivedAt == nil || rec.MarkerSeq == 0 {
		t.Errorf("record %s: want created, covering event %d, with one request, the snapshot and its marker",
			rec.Encode(), seq)
	}
}

// The older fetch returns last and must not win.
func TestSlowStaleReadCannotWin(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	stops := []func(){r.start(), r.start()}

	slow := r.stripe.holdNext(c.ID)
	r.mark(c)
	r.wait("first fetch", slow.asked) // it holds "active"
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.mark(c)
	r.await(c, "canceled", status("canceled"))
	_, newer, _ := r.snapshot(c)
	close(slow.release)
	for _, stop := range stops {
		stop() // which waits until the slow one has tried to write: its marker was replaced long ago
	}

	s, revision, _ := r.snapshot(c)
	if s.Status != "canceled" || revision < newer {
		t.Errorf("revision %d is %s after the slow fetch returned, revision %d was canceled", revision, s.Status, newer)
	}
	for _, rec := range r.records(c) {
		if rec.Snapshot != nil && rec.Snapshot.Status == "active" {
			t.Errorf("the slow fetch was written: %s", rec.Encode())
		}
	}
}

// A, then B, then A again, while a slow fetch sees B. The sync that finds A = A must write all the
// same: it is what makes the slow one's write fail.
func TestStateThatComesAndGoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	stops := []func(){r.start(), r.start()}
	r.mark(c)
	r.await(c, "active", status("active"))
	r.awaitRecords(c, 1)

	if err := r.sim.CancelAtPeriodEnd(sub); err != nil {
		t.Fatal(err)
	}
	slow := r.stripe.holdNext(c.ID)
	r.mark(c)
	r.wait("fetch of B", slow.asked)
	if err := r.sim.UndoCancel(sub); err != nil {
		t.Fatal(err)
	}
	r.mark(c)
	natstest.Eventually(t, patience, func() error {
		for _, rec := range r.records(c) {
			if rec.Outcome == record.Unchanged {
				return nil
			}
		}
		return errors.New("A was not read a second time")
	})
	close(slow.release)
	for _, stop := range stops {
		stop() // which waits until the slow one has tried to write: its marker was replaced long ago
	}

	s, _, _ := r.snapshot(c)
	if s.Subscriptions[0].CancelAtPeriodEnd {
		t.Errorf("B stayed: %s", s.Encode())
	}
	for _, rec := range r.records(c) {
		if rec.Outcome == record.Changed {
			t.Errorf("B was written: %s", rec.Encode())
		}
	}
}

// STRIPE_SYNC is purged behind stopped syncers; when they start, every event is covered again and
// every wake is back.
func TestPurgedMarkersAreRebuilt(t *testing.T) {
	t.Parallel()
	// Often enough that an event too young for the first run is seen by the next.
	r := newRig(t, func(cfg *Config) { cfg.CoverageEvery = time.Second })
	stop := r.start()
	settled := r.customer()
	r.subscribe(settled)
	r.event(settled)
	r.mark(settled)
	r.await(settled, "active", status("active"))
	r.awaitIdle()
	stop()

	lost := r.customer()
	r.subscribe(lost)
	r.event(lost)
	r.mark(lost)
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}

	r.start()
	s := r.await(lost, "active", status("active"))
	if s.Cause.Trigger != stripeevent.TriggerCoverage {
		t.Errorf("cause %+v, want the coverage job", s.Cause)
	}
	natstest.Eventually(t, patience, func() error {
		_, err := stream.GetLastMsgForSubject(t.Context(), stripeevent.WakeSubject(settled))
		return err
	})
	if n := len(r.records(settled)); n != 1 {
		t.Errorf("%s was covered and is synced again: %d records", settled, n)
	}
}

func TestRequestGetsAFreshSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	r.start()
	r.mark(c)
	r.await(c, "active", status("active"))
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	nc := r.conn(t)
	ask := func(body string) *nats.Msg {
		t.Helper()
		var reply *nats.Msg
		natstest.Eventually(t, patience, func() (err error) {
			reply, err = nc.Request(entitlement.SyncSubject(entitlement.Test), []byte(body), 10*time.Second)
			return err
		})
		return reply
	}
	reply := ask(`{"customer":"` + c.ID + `","account":""}`)
	s, revision, _ := r.snapshot(c)
	if s.Status != "canceled" {
		t.Errorf("status %s after the reply %s, want canceled", s.Status, reply.Data)
	}
	if rev := jsonNumber(t, reply.Data, "revision"); rev != revision {
		t.Errorf("reply says revision %d, bucket %d", rev, revision)
	}
	if reply := ask(`{"customer":""}`); reply.Header.Get("Nats-Service-Error-Code") != "400" {
		t.Errorf("a request without a customer: headers %v, want code 400", reply.Header)
	}
}

// A syncer that is stopped hands its waiting markers over at once: nothing is lost, and no marker
// waits for AckWait.
func TestStoppingLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	stop := r.start()
	var all []stripeevent.Customer
	for range 20 {
		c := r.customer()
		r.subscribe(c)
		all = append(all, c)
	}
	slow := r.stripe.holdNext(all[0].ID)
	for _, c := range all {
		r.mark(c)
	}
	r.wait("a fetch under way", slow.asked)
	close(slow.release)
	stop()
	r.start()
	for _, c := range all {
		r.await(c, "active", status("active"))
	}
	r.awaitIdle()
}

// A server that restarts alone forgets the pace bucket, which is in memory. The syncer makes it
// again and goes on.
func TestRestartOfTheOnlyServer(t *testing.T) {
	t.Parallel()
	var ready readiness
	r := newRig(t, func(cfg *Config) { cfg.Ready = ready.set })
	c := r.customer()
	sub := r.subscribe(c)
	r.start()
	r.mark(c)
	r.await(c, "active", status("active"))
	r.awaitIdle()

	r.restart()
	natstest.Eventually(t, patience, func() error {
		if _, err := r.js.KeyValue(t.Context(), topology.PaceBucket); err != nil {
			return err
		}
		return ready.err(conditionTopology)
	})
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.mark(c)
	r.await(c, "canceled", status("canceled"))
}
