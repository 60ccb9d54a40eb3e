package syncer

import (
	"os"
	"path/filepath"
	"testing"

	"entitled/internal/topology"
)

// The disk of STRIPE_SYNC loses that a marker was done, and keeps that its consumer handed it out: what a power failure leaves of
// a stream that is not synced at every write and of a consumer that is. The marker is handed out again.
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
