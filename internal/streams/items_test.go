package streams_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/streams"
)

// A bucket that takes several pulls is read to its end, with the current value of each key.
func TestItems(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	read := func(patterns ...string) (list []string, err error) {
		for item, err := range streams.Items(t.Context(), js, "b", patterns...) {
			if err != nil {
				return list, err
			}
			list = append(list, item.Key+" "+string(item.Value))
		}
		slices.Sort(list)
		return list, nil
	}
	if list, err := read(); err != nil || list != nil {
		t.Errorf("an empty bucket holds %v, %v", list, err)
	}
	var want []string
	const n = 1100
	for i := range n {
		key := fmt.Sprintf("k%d.x", i)
		for _, value := range []string{"first", "second"} {
			if _, err := kv.PutString(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, key+" second")
	}
	for _, key := range []string{"deleted", "purged"} {
		if _, err := kv.PutString(t.Context(), key, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context(), "purged"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	got, err := read()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err = read("k1.*", "k2.x")
	if diff := cmp.Diff([]string{"k1.x second", "k2.x second"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	e, err := kv.Get(t.Context(), "k7.x")
	if err != nil {
		t.Fatal(err)
	}
	for item, err := range streams.Keys(t.Context(), js, "b", "k7.x") {
		want := streams.Item{Key: "k7.x", Value: []byte{}, Revision: e.Revision(), Stored: e.Created().Local()}
		item.Stored = item.Stored.Local()
		if diff := cmp.Diff(want, item); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// Entries that vanish before they were read are an error: a bucket that was emptied, or a replica
// that lost them, must not look like a bucket without them.
func TestItemsThatVanish(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		if _, err := kv.PutString(t.Context(), fmt.Sprintf("k%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	var failed error
	for _, err := range streams.Items(t.Context(), js, "b") {
		if failed = err; err != nil {
			break
		}
		if n++; n == 1 {
			s, err := js.Stream(t.Context(), streams.Stream("b"))
			if err == nil {
				err = s.Purge(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if failed == nil || !strings.Contains(failed.Error(), "entries are left") {
		t.Errorf("after %d entries it ends with %v", n, failed)
	}
}
