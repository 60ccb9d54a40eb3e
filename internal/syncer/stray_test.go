package syncer

import (
	"os"
	"path/filepath"
	"testing"

	"entitled/entitlement"
	"entitled/internal/repair"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// After a power failure STRIPE_SYNC, which is not synced at every write, has a marker again that was
// removed, and its consumer, which is, has delivered it. The marker is delivered again.
func TestStrayMarkerIsTakenIn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	msgs := filepath.Join(r.srv.StoreDir(), "$G", "streams", topology.SyncStream, "msgs")
	c := r.customer()
	r.subscribe(c)
	r.mark(c)
	before := t.TempDir()
	r.srv.Shutdown()
	if err := os.CopyFS(filepath.Join(before, "msgs"), os.DirFS(msgs)); err != nil {
		t.Fatal(err)
	}
	r.restart()

	stop := r.start()
	r.awaitRecords(c, 1)
	r.awaitIdle()
	stop()

	r.srv.Shutdown()
	if err := os.RemoveAll(msgs); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(msgs, os.DirFS(filepath.Join(before, "msgs"))); err != nil {
		t.Fatal(err)
	}
	r.restart()
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Fatalf("%d messages are back, want the marker", n)
	}
	r.start()
	r.awaitIdle()
}

// A stream of several replicas has lost its end, and the ack floor of its consumer is ahead of it.
// A message that is stored again right after the end would still be below the floor.
func TestStrayBelowAFloorAheadOfTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := t.Context()
	st, err := store.Open(ctx, store.Publisher{JetStream: r.js, Took: func(err error) error { return err }},
		entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	customers := []stripeevent.Customer{r.customer(), r.customer()}
	var end uint64
	for _, c := range customers {
		r.mark(c)
		if end, err = st.NewestMarker(ctx, stripeevent.SyncSubject(stripeevent.Now, c)); err != nil {
			t.Fatal(err)
		}
	}
	floor := end + 7
	filter := "stripe.sync.test." + string(stripeevent.Now) + ".>"
	if _, err := repair.TakeIn(ctx, st, filter, floor); err != nil {
		t.Fatal(err)
	}
	for _, c := range customers {
		seq, err := st.NewestMarker(ctx, stripeevent.SyncSubject(stripeevent.Now, c))
		if err != nil || seq <= floor {
			t.Errorf("the marker of %s has sequence %d, %v; want one above the floor %d", c, seq, err, floor)
		}
	}
}
