package mirror_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// Apps open a mirror as the bucket that it copies: get, watch, revisions.
func TestAppsReadTheMirror(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(customers(20)...)
	r.keep("syncer")
	r.equal()
	kv, err := r.app.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop() //nolint:errcheck // the connection goes with the test
	for e := range w.Updates() {
		if e == nil {
			break
		}
	}
	want, err := r.kv().Put(t.Context(), "cus_new", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-w.Updates():
		if e.Key() != "cus_new" || e.Revision() != want {
			t.Errorf("watched %s at %d, want cus_new at %d", e.Key(), e.Revision(), want)
		}
	case <-time.After(patience):
		t.Fatal("the watch brings nothing")
	}
	if e, err := kv.Get(t.Context(), "cus_new"); err != nil || e.Revision() != want {
		t.Errorf("get: %v, %v", e, err)
	}
	// The mirrors are made one after the other.
	natstest.Eventually(t, patience, func() error {
		acted := r.acted()
		slices.Sort(acted)
		if d := cmp.Diff([]string{topology.PlansBucket + " made", bucket + " made"}, acted); d != "" {
			return errors.New(d)
		}
		return nil
	})
}
