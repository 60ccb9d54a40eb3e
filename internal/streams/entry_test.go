package streams_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/streams"
)

func TestEntry(t *testing.T) {
	t.Parallel()
	ctx, js := t.Context(), natstest.Run(t).JetStream(t)
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	type counter struct {
		N int `json:"n"`
	}
	e := streams.Entry[counter]{KV: kv, Key: "k"}
	check := func(want streams.Value[counter]) {
		t.Helper()
		got, err := e.Get(ctx)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	conflict := func(err error) {
		t.Helper()
		if !errors.Is(err, streams.ErrConflict) {
			t.Errorf("%v, want a conflict", err)
		}
	}
	check(streams.Value[counter]{})
	first, err := e.Set(ctx, counter{1}, 0)
	must(err)
	check(streams.Value[counter]{V: counter{1}, Revision: first, OK: true})
	_, err = e.Set(ctx, counter{2}, 0)
	conflict(err)
	second, err := e.Set(ctx, counter{2}, first)
	must(err)
	_, err = e.Set(ctx, counter{3}, first)
	conflict(err)
	must(e.Advance(ctx, counter{3}, first)) // without effect
	conflict(e.Delete(ctx, first))
	check(streams.Value[counter]{V: counter{2}, Revision: second, OK: true})
	must(e.Delete(ctx, second))
	check(streams.Value[counter]{})
	_, err = e.Set(ctx, counter{4}, 0) // over the one that was removed
	must(err)
	must(e.Put(ctx, counter{5}))
	foreign, err := kv.PutString(ctx, "k", `{"n":6,"n":"seven"}`)
	must(err)
	check(streams.Value[counter]{Revision: foreign}) // not the part that decoded
	if err := js.DeleteKeyValue(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Get(ctx); err == nil {
		t.Error("read of a bucket that is gone")
	}
}
