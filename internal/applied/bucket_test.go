package applied

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/topology"
)

func open(t *testing.T) (*Bucket, jetstream.JetStream) {
	t.Helper()
	js := natstest.Run(t).JetStream(t)
	if err := topology.Ensure(t.Context(), js, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	return b, js
}

func document(t *testing.T, text string) *plans.Document {
	t.Helper()
	d, _, err := plans.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func inForce(t *testing.T, b *Bucket) InForce {
	t.Helper()
	f, err := b.InForce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// next applies a document over the one in force.
func next(t *testing.T, b *Bucket, over InForce, text, by string) error {
	t.Helper()
	d := document(t, text)
	var err error
	if d.Number, err = b.Next(t.Context(), over, 0); err != nil {
		t.Fatal(err)
	}
	return b.Apply(t.Context(), d, over, by, "")
}

// Of many that apply over the same document one succeeds, and its version is the document in force.
func TestApplyTogether(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	for round := range uint64(5) {
		over := inForce(t, b)
		texts := []string{"connect: true", "unmatched: deny", "default: {features: [a]}", "features: [a]"}
		errs := make([]error, len(texts))
		var all sync.WaitGroup
		for i, text := range texts {
			d := document(t, text)
			d.Number = round + 1
			all.Go(func() { errs[i] = b.Apply(t.Context(), d, over, text, "") })
		}
		all.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, ErrConflict):
				t.Error(err)
			}
		}
		f := inForce(t, b)
		v, err := b.Version(t.Context(), round+1)
		if won != 1 || err != nil || f.Number != round+1 || !Same(f.Document, v.Document) || f.By != v.By {
			t.Fatalf("round %d: %d applied, in force %d by %s, version by %s, %v", round, won, f.Number, f.By, v.By, err)
		}
	}
}

// An apply that is refused leaves neither a document in force nor a version.
func TestApplyIsWhole(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	if err := next(t, b, inForce(t, b), "connect: true", "a"); err != nil {
		t.Fatal(err)
	}
	stale := InForce{}
	d := document(t, "unmatched: deny")
	d.Number = 2
	if err := b.Apply(t.Context(), d, stale, "b", ""); !errors.Is(err, ErrConflict) {
		t.Errorf("over another document: %v", err)
	}
	if _, err := b.Version(t.Context(), 2); !errors.Is(err, ErrNoVersion) {
		t.Errorf("a version of a document that was not applied: %v", err)
	}
	if f := inForce(t, b); f.Number != 1 || f.By != "a" {
		t.Errorf("in force is %d by %s", f.Number, f.By)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Apply(ended, d, inForce(t, b), "c", ""); err == nil {
		t.Error("an apply whose context has ended succeeds")
	}
	// Whatever became of it, the next one continues from what is there.
	if err := next(t, b, inForce(t, b), "default: {features: [a]}", "d"); err != nil {
		t.Fatal(err)
	}
	f := inForce(t, b)
	if v, err := b.Version(t.Context(), f.Number); err != nil || f.By != "d" || !Same(v.Document, f.Document) {
		t.Errorf("in force is %d by %s; version: %v", f.Number, f.By, err)
	}
}

// The next number exceeds the document's, every version's and every snapshot's, also after a
// deletion.
func TestNext(t *testing.T) {
	t.Parallel()
	b, js := open(t)
	if err := next(t, b, inForce(t, b), "connect: true", "a"); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Next(t.Context(), inForce(t, b), 7); n != 8 || err != nil {
		t.Errorf("after snapshots of 7: %d, %v", n, err)
	}
	kv, err := js.KeyValue(t.Context(), topology.PlansBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	f := inForce(t, b)
	if !f.Deleted || f.Present() {
		t.Errorf("deleted: %+v", f)
	}
	if err := next(t, b, f, "unmatched: deny", "b"); err != nil {
		t.Fatal(err)
	}
	if f := inForce(t, b); f.Number != 2 {
		t.Errorf("after a deletion: %d", f.Number)
	}
	for _, foreign := range []string{"hello", `{}`, `{"number":0}`, `{"number":3,"new_key":1}`} {
		if _, err := kv.Put(t.Context(), "test", []byte(foreign)); err != nil {
			t.Fatal(err)
		}
		if f := inForce(t, b); !f.Present() || f.Err == nil || f.Document != nil {
			t.Errorf("%s: %+v", foreign, f)
		}
	}
	versions, err := b.Versions(t.Context())
	if err != nil || len(versions) != 2 || versions[0].By != "a" || versions[1].Number != 2 {
		t.Errorf("versions: %+v, %v", versions, err)
	}
}
