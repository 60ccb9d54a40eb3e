package syncer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/repair"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A customer that subscribes to a price just before it changes, and whose reading is slow, is not
// among the price's customers at the first pass. The last pass finds it, and marks no customer that
// was read since the change.
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
	sub, err := r.sim.CreateSubscription(stripesim.SubscriptionParams{Customer: c.ID,
		Items: []stripesim.ItemParams{{Price: other}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	wire, s := r.process(nil)
	// pass is one run, for which an event is settled once it is so old. It returns how many were
	// marked, and how often the bucket was read.
	pass := func(settle time.Duration) (marked, read int) {
		t.Helper()
		wire.begin(fault{})
		r.purgeMarkers()
		if err := (&repair.FanOut{Store: s.store, Mode: s.mode, Settle: settle,
			Marked: func(int) {}}).Run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		return r.pendingMarkers(), wire.made()["CONSUMER.CREATE.KV_entitlements_test"]
	}
	sync := func(c stripeevent.Customer) error {
		_, err := s.protocol.Sync(t.Context(), t.Context(),
			protocol.Task{Customer: c, Lane: stripeevent.Now,
				Cause: entitlement.Cause{Trigger: stripeevent.TriggerRequest}})
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
		t.Errorf("first pass: %d marked, bucket read %d times; want the %d who hold the price, at once", marked,
			read, len(holders))
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
	if err := sync(c); err != nil {
		t.Fatal(err)
	}
	r.right("", append(holders, c.ID))
	if marked, read := pass(0); marked != 0 || read != 0 {
		t.Errorf("after the last pass: %d marked, bucket read %d times", marked, read)
	}
}

// Records cover sequences, and those of the former log mean nothing in a recreated one.
func TestFanoutBelievesNoOtherLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	job := &repair.FanOut{Store: o.s.store, Mode: o.s.mode, Marked: func(int) {}}
	run := func() {
		t.Helper()
		if err := job.Run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if err := o.s.store.AppendRecord(t.Context(), c,
		record.Record{Outcome: record.Unchanged, EventsSeq: 1000}); err != nil {
		t.Fatal(err)
	}
	r.renamePrice()
	run()
	if n := r.pendingMarkers(); n != 1 {
		t.Errorf("%d markers, want the holder's", n)
	}
}

// The last pass does not mark a customer whose marker of the first pass is still pending: that
// would be a second, needless reading.
func TestFanoutLeavesWaitingMarkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	r.subscribe(c)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	marker := func(settle time.Duration) (seq uint64) {
		t.Helper()
		err := (&repair.FanOut{Store: o.s.store, Mode: o.s.mode, Settle: settle,
			Marked: func(int) {}}).Run(t.Context(), false)
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

// A changed price marks exactly the customers that have it, without a request to Stripe.
func TestFanoutMarksTheHolders(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	holders := r.load(40)
	product, err := r.sim.CreateProduct(stripesim.ProductParams{Name: "Other"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.sim.CreatePrice(stripesim.PriceParams{Product: product})
	if err != nil {
		t.Fatal(err)
	}
	r.loadInto(r.sim.Account, other, 25)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	job := &repair.FanOut{Store: o.s.store, Mode: entitlement.Test, Marked: func(int) {}}
	run := func() {
		t.Helper()
		if err := job.Run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := r.pendingMarkers(); n != 0 {
		t.Fatalf("%d markers after the first run, of what happened before it", n)
	}
	r.sim.ResetLog()
	before := len(r.sim.Events())
	if err := r.sim.UpdatePrice(r.price, "pro_renamed", true); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.UpdateProduct(product, "Renamed", nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.sim.Events()[before:] {
		r.deliver(e)
	}
	run()
	if n := r.pendingMarkers(); n != len(holders) {
		t.Errorf("%d markers, want those of the %d holders; a product means nothing without its features", n,
			len(holders))
	}
	if n := r.sim.Stats().Requests; n != 0 {
		t.Errorf("%d requests to Stripe", n)
	}
	r.start()
	r.awaitIdle()
	r.right("", holders)
}

// The cursor of the fan-out stays behind what it has read: a replica that lags may show less than
// the log has.
func TestFanoutCursor(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	job := &repair.FanOut{Store: o.s.store, Mode: entitlement.Test, Marked: func(int) {}}
	cursor := func() (c struct{ Seq uint64 }) {
		t.Helper()
		if err := job.Run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		data, _, err := store.Get(t.Context(), job.State, "cursor.test.fanout")
		if err != nil || json.Unmarshal(data, &c) != nil {
			t.Fatalf("cursor %s: %v", data, err)
		}
		return c
	}
	c := ours("cus_1")
	if got, want := cursor().Seq, r.event(c); got != want {
		t.Errorf("first run: cursor %d, want %d", got, want)
	}
	r.renamePrice()
	price, err := o.s.store.LastEvent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.event(c)
	if got := cursor().Seq; got != price+1 {
		t.Errorf("cursor %d, want %d: behind the last event of the catalog", got, price+1)
	}
}
