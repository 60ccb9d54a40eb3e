package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Each customer's entry is read once, as it is now; what is no customer's is left out. Package
// streams proves that a bucket is read whole.
func TestEachSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s, err := store.Open(t.Context(), store.Publisher{JetStream: r.js, Took: topology.NameNoRoom}, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context) (keys []string, err error) {
		var mu sync.Mutex
		err = s.EachSnapshot(ctx, entitlement.Test, store.Everyone,
			func(_ context.Context, c stripeevent.Customer, data []byte, _ uint64) error {
				mu.Lock()
				defer mu.Unlock()
				keys = append(keys, c.Key()+" "+string(data))
				return nil
			})
		slices.Sort(keys)
		return keys, err
	}
	if keys, err := read(t.Context()); err != nil || keys != nil {
		t.Errorf("an empty bucket holds %v, %v", keys, err)
	}

	var want []string
	for i := range 100 {
		key := fmt.Sprintf("cus_%d", i)
		if i%2 == 0 {
			key = "acct_1." + key
		}
		for _, data := range []string{"first", "second"} {
			if _, err := s.Bucket.Put(t.Context(), key, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, key+" second")
	}
	slices.Sort(want)
	for key, take := range map[string]func(context.Context, string) error{
		"cus_deleted": func(ctx context.Context, key string) error { return s.Bucket.Delete(ctx, key) },
		"cus_purged":  func(ctx context.Context, key string) error { return s.Bucket.Purge(ctx, key) },
		"not.a.customers": func(context.Context, string) error {
			return nil
		},
	} {
		if _, err := s.Bucket.Put(t.Context(), key, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := take(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	got, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}

	// The reading fails if it ends early.
	full := errors.New("full")
	err = s.EachSnapshot(t.Context(), entitlement.Test, store.Everyone,
		func(context.Context, stripeevent.Customer, []byte, uint64) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("a reader that fails ends with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context ended ends with %v", err)
	}
}
