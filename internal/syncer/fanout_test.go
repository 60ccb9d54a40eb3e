package syncer

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
)

// Who comes to a price just before it changes, by a reading that is slow, is not among its holders when the first pass looks. The last one finds
// that customer, and marks nobody who has been read since the change.
func TestFanoutLooksAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	holders := r.load(3)
	product, err := r.sim.CreateProduct(stripesim.ProductParams{Name: "Other"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.sim.CreatePrice(stripesim.PriceParams{Product: product})
	if err != nil {
		t.Fatal(err)
	}
	c := r.customer()
	sub, err := r.sim.CreateSubscription(stripesim.SubscriptionParams{Customer: c.ID, Items: []stripesim.ItemParams{{Price: other}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.operator().Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	wire, s := r.process(nil)
	// pass is one run, for which an event is settled once it is so old. It returns how many were marked, and how often the bucket was read.
	pass := func(settle time.Duration) (marked, read int) {
		t.Helper()
		wire.begin(fault{})
		r.purgeMarkers()
		if err := (&fanout{store: s.store, mode: s.mode, settle: settle, marked: func(int) {}}).run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		return r.pendingMarkers(), wire.made()["CONSUMER.CREATE.KV_entitlements_test"]
	}
	sync := func(c stripeevent.Customer) error {
		_, err := s.protocol.sync(t.Context(), t.Context(), task{customer: c, lane: stripeevent.Now, cause: entitlement.Cause{Trigger: stripeevent.TriggerRequest}})
		return err
	}
	pass(time.Hour)

	if err := r.sim.ChangePrice(sub, r.price); err != nil {
		t.Fatal(err)
	}
	slow, ended := r.stripe.holdNext(c.ID), make(chan error, 1)
	go func() { ended <- sync(c) }() // received below
	r.wait("a slow reading", slow.asked)
	r.renamePrice()
	if marked, read := pass(time.Hour); marked != len(holders) || read != 1 {
		t.Errorf("first pass: %d marked, bucket read %d times; want the %d who hold the price, at once", marked, read, len(holders))
	}
	close(slow.release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if marked, read := pass(time.Hour); marked != 0 || read != 0 {
		t.Errorf("between the passes: %d marked, bucket read %d times", marked, read)
	}
	for _, id := range holders {
		if err := sync(ours(id)); err != nil {
			t.Fatal(err)
		}
	}
	if marked, read := pass(0); marked != 1 || read != 1 {
		t.Errorf("last pass: %d marked, bucket read %d times; want the one whose reading was slow", marked, read)
	}
	r.start()
	r.awaitIdle()
	r.right("", append(holders, c.ID))
	if marked, read := pass(0); marked != 0 || read != 0 {
		t.Errorf("after the last pass: %d marked, bucket read %d times", marked, read)
	}
}

// What a record covers is told in sequences: those of a log that was made anew say nothing of this one.
func TestFanoutBelievesNoOtherLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	job := &fanout{store: o.s.store, mode: o.s.mode, marked: func(int) {}}
	run := func() {
		t.Helper()
		if err := job.run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if err := o.s.store.AppendRecord(t.Context(), c, Record{Outcome: Unchanged, EventsSeq: 1000}); err != nil {
		t.Fatal(err)
	}
	r.renamePrice()
	run()
	if n := r.pendingMarkers(); n != 1 {
		t.Errorf("%d markers, want the holder's", n)
	}
}

// Whose marker of the first pass still waits is left to it by the last: another in its place would be a second reading for nothing.
func TestFanoutLeavesWaitingMarkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	marker := func(settle time.Duration) (seq uint64) {
		t.Helper()
		err := (&fanout{store: o.s.store, mode: o.s.mode, settle: settle, marked: func(int) {}}).run(t.Context(), false)
		if err == nil {
			seq, err = o.s.store.NewestMarker(t.Context(), stripeevent.SyncSubject(stripeevent.Bulk, c))
		}
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	marker(time.Hour)
	r.renamePrice()
	first := marker(time.Hour)
	if last := marker(0); first == 0 || last != first {
		t.Errorf("marker %d after the first pass, %d after the last", first, last)
	}
}

// renamePrice gives the rig's price another lookup key, and delivers the events of that.
func (r *rig) renamePrice() {
	r.t.Helper()
	before := len(r.sim.Events())
	if err := r.sim.UpdatePrice(r.price, "pro_renamed", true); err != nil {
		r.t.Fatal(err)
	}
	for _, e := range r.sim.Events()[before:] {
		r.deliver(e)
	}
}

func (r *rig) purgeMarkers() {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.SyncStream)
	if err == nil {
		err = stream.Purge(r.t.Context(), jetstream.WithPurgeSubject("stripe.sync.>"))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}
