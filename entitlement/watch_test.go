package entitlement_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
)

// watching collects the changes that a watch yields.
type watching struct {
	changes chan entitlement.Change
	stop    func()
}

// watch starts a watch and stops it when the test ends.
func watch(t *testing.T, c *entitlement.Client, keys ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{changes: make(chan entitlement.Change)}
	var running sync.WaitGroup
	running.Go(func() {
		defer close(w.changes)
		for change := range c.Watch(ctx, keys...) {
			select {
			case w.changes <- change:
			case <-ctx.Done():
			}
		}
	})
	w.stop = func() { cancel(); running.Wait() }
	t.Cleanup(w.stop)
	return w
}

func (w *watching) next(t *testing.T) entitlement.Change {
	t.Helper()
	select {
	case change, ok := <-w.changes:
		if !ok {
			t.Fatal("the watch ended")
		}
		return change
	case <-time.After(patience):
		t.Fatal("no change came")
	}
	panic("unreachable")
}

func features(c entitlement.Change) string {
	return fmt.Sprintf("%s %v→%v initial=%v", c.Key, c.Previous.Features, c.Snapshot.Features, c.Initial)
}

func (w *watching) want(t *testing.T, want string) {
	t.Helper()
	if got := features(w.next(t)); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestWatchIsCalledForChangesOnly(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "a"))
	put(t, kv, snapshot("cus_other", "a"))
	c := open(t, s.Conn(t), nil)
	w := watch(t, c, "cus_1", "cus_2", "cus_1")
	w.want(t, "cus_1 []→[a] initial=true")
	w.want(t, "cus_2 []→[] initial=true")

	// Another reading with the same result is no change; nor is another customer's.
	same := snapshot("cus_1", "a")
	same.AsOf = same.AsOf.Add(time.Hour)
	same.ChangedAt = same.ChangedAt.Add(time.Hour)
	same.Cause = entitlement.Cause{Trigger: "sweep", Event: "evt_1", Type: "x"}
	put(t, kv, same)
	put(t, kv, snapshot("cus_other", "b"))
	rev := put(t, kv, snapshot("cus_1", "b"))
	change := w.next(t)
	if got := features(change); got != "cus_1 [a]→[b] initial=false" || change.Revision != rev {
		t.Fatalf("got %s at %d", got, change.Revision)
	}
	want := []entitlement.Difference{{Path: "features", From: `["a"]`, To: `["b"]`}}
	if d := cmp.Diff(want, change.Differences()); d != "" {
		t.Error(d)
	}
	put(t, kv, snapshot("cus_2", "c"))
	w.want(t, "cus_2 []→[c] initial=false")
	if err := kv.Delete(t.Context(), "cus_1"); err != nil {
		t.Fatal(err)
	}
	if change := w.next(t); features(change) != "cus_1 [b]→[] initial=false" || change.Snapshot.Customer != "" {
		t.Fatalf("deletion: %+v", change)
	}
	w.stop()
	if _, more := <-w.changes; more {
		t.Error("the watch goes on after its context")
	}
}

// A change that happens while a watch begins is part of its initial state, and is not yielded
// twice.
func TestChangeWhileWatchBegins(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "a"))
	put(t, kv, snapshot("cus_2", "a"))
	c := open(t, s.Conn(t), nil)
	var got []string
	for change := range c.Watch(t.Context(), "cus_1", "cus_2") {
		switch got = append(got, features(change)); len(got) {
		case 1:
			put(t, kv, snapshot("cus_1", "b"))
			put(t, kv, snapshot("cus_2", "b"))
			grants(t, c, "cus_2", "b")
			continue
		case 2:
			put(t, kv, snapshot("cus_2", "c"))
			grants(t, c, "cus_2", "c")
			continue
		case 3:
			continue
		}
		break
	}
	want := []string{
		"cus_1 []→[a] initial=true",
		"cus_2 []→[b] initial=true",
		"cus_1 [a]→[b] initial=false",
		"cus_2 [b]→[c] initial=false",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWatchAll(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	var want []string
	for i := range 20 {
		key := fmt.Sprintf("cus_%02d", i)
		put(t, kv, snapshot(key, "a"))
		want = append(want, key)
	}
	if err := kv.Delete(t.Context(), "cus_07"); err != nil {
		t.Fatal(err)
	}
	want = slices.Delete(want, 7, 8)
	c := open(t, s.Conn(t), nil)
	w := watch(t, c)
	var got []string
	for range want {
		change := w.next(t)
		if !change.Initial {
			t.Errorf("%s is not initial", change.Key)
		}
		got = append(got, change.Key)
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	put(t, kv, snapshot("cus_new", "a"))
	w.want(t, "cus_new []→[a] initial=false")
}

// A slow watcher delays neither the client nor another watcher, and gets the last state.
func TestSlowWatcherGetsTheLastState(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "start"))
	c := open(t, s.Conn(t), nil)
	slow, quick := watch(t, c), watch(t, c, "cus_1")
	slow.want(t, "cus_1 []→[start] initial=true")
	quick.want(t, "cus_1 []→[start] initial=true")
	put(t, kv, snapshot("cus_1", "v0"))
	slow.want(t, "cus_1 [start]→[v0] initial=false")
	quick.want(t, "cus_1 [start]→[v0] initial=false")

	put(t, kv, snapshot("cus_2", "x")) // it is yielded, and waits in the slow watcher's hand
	grants(t, c, "cus_2", "x")
	for i := range 100 {
		prev := fmt.Sprintf("v%d", i)
		next := fmt.Sprintf("v%d", i+1)
		put(t, kv, snapshot("cus_1", next))
		quick.want(t, fmt.Sprintf("cus_1 [%s]→[%s] initial=false", prev, next))
	}
	// A customer that came and went meanwhile is no change at all.
	put(t, kv, snapshot("cus_3", "x"))
	if err := kv.Delete(t.Context(), "cus_3"); err != nil {
		t.Fatal(err)
	}
	put(t, kv, snapshot("cus_4", "x"))
	grants(t, c, "cus_4", "x")
	slow.want(t, "cus_2 []→[x] initial=false")
	slow.want(t, "cus_1 [v0]→[v100] initial=false")
	slow.want(t, "cus_4 []→[x] initial=false")
}

// The changes of a watcher, applied in order, give the view: each Previous is the Snapshot yielded
// before, and the last Snapshot is the last state, in every interleaving of writes, the beginning
// of the watch and the pace of its reader.
func TestChangesChainToTheView(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	c := open(t, s.Conn(t), nil)
	const customers, writes = 10, 600
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 8 {
		running.Go(func() {
			yielded := map[string]entitlement.Snapshot{}
			done := map[string]bool{}
			for change := range c.Watch(ctx) {
				before := yielded[change.Key]
				if !change.Previous.Equal(&before) || (change.Initial && before.Customer != "") {
					t.Errorf("%s: previous %v, yielded before %v",
						features(change), change.Previous.Features, before.Features)
				}
				if before.Customer != "" && before.Equal(&change.Snapshot) {
					t.Errorf("%s: no change", features(change))
				}
				yielded[change.Key] = change.Snapshot
				if change.Snapshot.Has("last", time.Now()) {
					done[change.Key] = true
				}
				if len(done) == customers {
					return
				}
			}
			t.Errorf("ended with %d of %d customers at their last state", len(done), customers)
		})
	}
	for i := range writes {
		key := fmt.Sprintf("cus_%d", i%customers)
		switch {
		case i >= writes-customers:
			put(t, kv, snapshot(key, "last"))
		case i%7 == 0:
			if err := kv.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		default:
			put(t, kv, snapshot(key, fmt.Sprint(i/customers/3)))
		}
	}
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	running.Wait()
}

func TestWatchEndsWhenTheLoopIsLeft(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "a"))
	c := open(t, s.Conn(t), nil)
	for range c.Watch(t.Context()) {
		break
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for change := range c.Watch(ended) {
		t.Errorf("a watch whose context has ended yields %s", change.Key)
	}
}
