package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// A witness follows the client of an app and fails the test if a customer with access becomes
// unknown although the bucket never lost it.
type witness struct {
	*entitlement.Client
	t    *testing.T
	mu   sync.Mutex
	gone map[string]bool // what may become unknown
}

func (r *rig) witness(t *testing.T) *witness {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		_, err := r.app.KeyValue(t.Context(), bucket)
		return err
	})
	c, err := entitlement.Open(t.Context(), r.srv.Conn(t, as("app")...), entitlement.Test, &entitlement.Options{
		CheckEvery: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{Client: c, t: t, gone: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for change := range c.Watch(ctx) {
			w.mu.Lock()
			if change.Snapshot.Customer == "" && !w.gone[change.Key] {
				t.Errorf("%s became unknown", change.Key)
			}
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); watching.Wait(); c.Close() })
	return w
}

// mayGo says that these customers are no longer in the bucket.
func (w *witness) mayGo(customers ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range customers {
		w.gone[c] = true
	}
}

// holds waits until the client knows exactly these customers, each with the feature.
func (w *witness) holds(feature string, customers ...string) {
	w.t.Helper()
	natstest.Eventually(w.t, patience, func() error {
		var have []string
		for e := range w.All() {
			if !e.Snapshot.Has(feature, time.Now()) {
				return fmt.Errorf("%s has %v, not %s", e.Key, e.Snapshot.Features, feature)
			}
			have = append(have, e.Key)
		}
		slices.Sort(have)
		if !slices.Equal(have, customers) {
			return fmt.Errorf("knows %d customers, not %d; %v", len(have), len(customers), w.Status().Err)
		}
		return nil
	})
}

// deleteMirror does what an app can on a server before 2.15.3, by the subject for an answer.
func (r *rig) deleteMirror() {
	r.t.Helper()
	apps, err := jetstream.NewWithAPIPrefix(r.ops.Conn(), "$JS.APPS.API")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := apps.DeleteStream(r.t.Context(), "KV_"+bucket); err != nil {
		r.t.Fatal(err)
	}
}

func TestNobodyBecomesUnknownWhenTheMirrorIsDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all := customers(200)
	r.put(all...)
	// They act at the same time, and one mirror comes of it.
	for range 3 {
		r.keep("syncer")
	}
	w := r.witness(t)
	w.holds("api", all...)
	before, err := r.app.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	r.deleteMirror()
	r.put("cus_new")
	all = append(all, "cus_new")
	natstest.Eventually(t, patience, func() error {
		now, err := r.app.Stream(t.Context(), "KV_"+bucket)
		if err == nil && now.CachedInfo().Created.Equal(before.CachedInfo().Created) {
			err = errors.New("the mirror is still there")
		}
		return err
	})
	r.equal()
	w.holds("api", all...)
	// A key that goes from the bucket without a marker goes from the mirror, and from the client.
	w.mayGo("cus_007")
	origin, err := r.ops.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := origin.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+bucket+".cus_007")); err != nil {
		t.Fatal(err)
	}
	r.equal()
	w.holds("api", slices.DeleteFunc(all, func(c string) bool { return c == "cus_007" })...)
}

func TestNobodyBecomesUnknownWhenTheServerRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all := customers(200)
	r.put(all...)
	r.keep("syncer")
	w := r.witness(t)
	w.holds("api", all...)
	r.srv.Restart()
	natstest.Eventually(t, patience, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := snapshot("cus_new", "api")
		kv, err := r.ops.KeyValue(ctx, bucket)
		if err == nil {
			_, err = kv.Put(ctx, "cus_new", s.Encode())
		}
		return err
	})
	r.equal()
	w.holds("api", append(all, "cus_new")...)
}

// A backup is older than what it replaces: its revisions are lower, some customers are not in it,
// others have what they had then.
func TestTheViewFollowsABucketRestoredFromABackup(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all := customers(200)
	r.put(all...)
	r.keep("syncer")
	w := r.witness(t)
	for range 2 {
		r.put(all...)
	}
	w.holds("api", all...)
	w.mayGo(all[150:]...)
	// A restore says so until it is done: until then the mirror stays, and so does the view.
	stream, err := r.ops.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	if err := r.ops.DeleteStream(t.Context(), config.Name); err != nil {
		t.Fatal(err)
	}
	config.Metadata = map[string]string{topology.Restoring: "yes"}
	if _, err := r.ops.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	kv := r.kv()
	for i, c := range all[:150] {
		s := snapshot(c, "old")
		if _, err := kv.Put(t.Context(), c, s.Encode()); err != nil {
			t.Fatalf("put %d: %v", i, err)
		}
	}
	config.Metadata = nil
	if _, err := r.ops.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.equal()
	w.holds("old", all[:150]...)
}
