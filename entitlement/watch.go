package entitlement

import (
	"context"
	"iter"
)

// A Change is what [Client.Watch] yields: a customer's content is another than the watch said before.
type Change struct {
	// Key is the customer's bucket key; see [ParseKey].
	Key string
	// Revision is the bucket's for the entry behind Snapshot; 0 when the bucket holds no entry.
	Revision uint64
	// Snapshot is the customer's content now; zero for a customer that is unknown now.
	Snapshot Snapshot
	// Previous is what the watch said before; zero for a customer that was unknown then, and for an Initial change.
	Previous Snapshot
	// Initial says that this is the state found when the watch began, not a change since.
	Initial bool
}

// Differences returns where Snapshot and Previous disagree, sorted by path.
func (c *Change) Differences() []Difference { return Diff(&c.Previous, &c.Snapshot) }

// Watch yields the current state of customers and then every change to it, until ctx ends, the client ends or the
// loop is left. A client ends when it is closed, or when its NATS connection is closed for good: a loop that ends
// although its ctx goes on asks [Client.Status] why. Keys are bucket keys, see [Key]; with none, all customers are watched. It blocks in
// between, so it belongs in a goroutine of its own:
//
//	for change := range client.Watch(ctx, "cus_1") {
//		show(change.Snapshot)
//	}
//
// The state comes first, each change marked Initial: of every key given, unknown customers included, or of all
// customers held. A sync that only moves as_of, changed_at or cause is not a change.
//
// A loop body that is slow holds up nobody: changes of a customer that come meanwhile are yielded as one, from what the
// watch said before to the newest, and not at all if that is the same. So the last state is never lost, and a
// watch needs memory for the customers that changed meanwhile, not for their changes.
func (c *Client) Watch(ctx context.Context, keys ...string) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := c.view.watch(keys)
		defer c.view.unwatch(w)
		going := func(change Change) bool {
			return ctx.Err() == nil && c.ctx.Err() == nil && yield(change)
		}
		for key := range c.view.now(keys) {
			if change, ok := c.view.tell(w, key, len(keys) > 0); ok && !going(change) {
				return
			}
		}
		for ended := false; ; {
			for change := range c.view.pending(w) {
				if !going(change) {
					return
				}
			}
			if ended {
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			case <-c.done:
				ended = true // once more: a change may have come before the end
			}
		}
	}
}

// A watcher is one running Watch.
type watcher struct {
	keys []string // empty: all
	wake chan struct{}

	// What it was last told of the keys that changed since, nil for nothing, and their order. The view's mu guards both.
	told  map[string]*held
	order []string
}

// notices is who waits for what. The view's mu guards it.
type notices struct {
	all     map[*watcher]struct{}
	byKey   map[string]map[*watcher]struct{}
	entries map[string]map[chan struct{}]struct{}
}

// entry tells those who wait for any entry of the key.
func (n *notices) entry(key string) {
	for ch := range n.entries[key] {
		signal(ch)
	}
}

// change tells watchers that the key's content is no longer prev's.
func (n *notices) change(key string, prev *held) {
	for w := range n.all {
		w.mark(key, prev)
	}
	for w := range n.byKey[key] {
		w.mark(key, prev)
	}
}

func (w *watcher) mark(key string, prev *held) {
	if _, marked := w.told[key]; !marked {
		w.told[key] = prev
		w.order = append(w.order, key)
	}
	signal(w.wake)
}

// signal is a level trigger: one signal that waits stands for any number.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (v *view) watch(keys []string) *watcher {
	w := &watcher{keys: keys, wake: make(chan struct{}, 1), told: map[string]*held{}}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(keys) == 0 {
		add(&v.notices.all, w)
	}
	for _, key := range keys {
		addTo(&v.notices.byKey, key, w)
	}
	return w
}

func (v *view) unwatch(w *watcher) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.notices.all, w)
	for _, key := range w.keys {
		removeFrom(v.notices.byKey, key, w)
	}
}

// now yields the keys to begin with: those given, each once, or all held.
func (v *view) now(keys []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(keys) == 0 {
			v.byKey.Range(func(k, _ any) bool { return yield(k.(string)) })
			return
		}
		begun := make(map[string]bool, len(keys))
		for _, key := range keys {
			if !begun[key] {
				begun[key] = true
				if !yield(key) {
					return
				}
			}
		}
	}
}

// tell returns the key's current state as an initial one, which settles a change that is marked already.
func (v *view) tell(w *watcher, key string, unknownToo bool) (Change, bool) {
	v.mu.Lock()
	h := v.held(key)
	delete(w.told, key)
	v.mu.Unlock()
	change := Change{Key: key, Initial: true}
	if h != nil {
		change.Revision, change.Snapshot = h.revision, h.snapshot
	}
	return change, h.known() || unknownToo
}

// pending yields the changes that are marked, oldest first, until none is left.
func (v *view) pending(w *watcher) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for {
			v.mu.Lock()
			if len(w.order) == 0 {
				w.order = nil // lets go of what a long queue took
				v.mu.Unlock()
				return
			}
			key := w.order[0]
			w.order = w.order[1:]
			prev, marked := w.told[key]
			delete(w.told, key)
			h := v.held(key)
			v.mu.Unlock()
			if !marked || !contentDiffers(prev, h) {
				continue
			}
			change := Change{Key: key}
			if h != nil {
				change.Revision, change.Snapshot = h.revision, h.snapshot
			}
			if prev != nil {
				change.Previous = prev.snapshot
			}
			if !yield(change) {
				return
			}
		}
	}
}

func add[K comparable](set *map[K]struct{}, k K) {
	if *set == nil {
		*set = map[K]struct{}{}
	}
	(*set)[k] = struct{}{}
}

func addTo[K comparable](sets *map[string]map[K]struct{}, key string, k K) {
	if *sets == nil {
		*sets = map[string]map[K]struct{}{}
	}
	set := (*sets)[key]
	add(&set, k)
	(*sets)[key] = set
}

func removeFrom[K comparable](sets map[string]map[K]struct{}, key string, k K) {
	delete(sets[key], k)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}
