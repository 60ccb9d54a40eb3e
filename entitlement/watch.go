package entitlement

import (
	"context"
	"iter"
	"slices"
)

// A Change is a change of one customer's content, as [Client.Watch] yields it.
type Change struct {
	// Key is the customer's bucket key; see [ParseKey]. It is the id with the prefix id: in the
	// Initial change of an id that no customer has.
	Key string
	// Revision is the revision of the key's newest entry in the bucket, which Snapshot is from; 0
	// when the bucket has no entry.
	Revision uint64
	// Snapshot is the customer's content now; zero for a customer that is unknown now, or no longer
	// has the id that is watched.
	Snapshot Snapshot
	// Previous is the content that the same watch yielded before; zero for a customer that was
	// unknown then, and for an Initial change.
	Previous Snapshot
	// Initial marks the state at the beginning of the watch, as opposed to a change since.
	Initial bool
}

// Differences returns the differences between Previous and Snapshot, sorted by path.
func (c *Change) Differences() []Difference { return Diff(&c.Previous, &c.Snapshot) }

// Watch yields the current state of customers, and then every change. It takes keys and ids; without
// any it watches all customers. It blocks between changes, so run it in its own goroutine:
//
//	for change := range client.Watch(ctx, "cus_1") {
//		show(change.Snapshot)
//	}
//
// The current state comes first, each change with Initial set: of every given key, unknown
// customers included, of every customer with a given id, or of all known customers. A sync that
// changes only as_of, changed_at or cause is not a change, and neither is another default in the
// plans document.
//
// The customers with an id may change while it is watched: one that takes on the id is yielded as a
// customer that was unknown, one that gives it up as a customer that is unknown now.
//
// A slow loop body delays nothing else. Several changes of one customer in the meantime become one,
// from the content yielded before to the newest, or none if the two are equal. So the last state is
// never lost, and a slow watch needs memory per changed customer, not per change.
//
// Watch ends when ctx ends, when the loop is left, or when the client ends: after [Client.Close],
// or when the NATS connection is closed for good ([Status].Ended).
func (c *Client) Watch(ctx context.Context, refs ...string) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := c.view.watch(refs)
		defer c.view.unwatch(w)
		going := func(change Change) bool {
			return ctx.Err() == nil && c.ctx.Err() == nil && yield(change)
		}
		for change := range c.view.now(w) {
			if !going(change) {
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
			case <-w.changed:
			case <-ctx.Done():
				return
			case <-c.done:
				ended = true // drain once more: a change may precede the end
			}
		}
	}
}

// A watcher is one running Watch.
type watcher struct {
	refs      []string // as given; empty: all
	keys, ids map[string]struct{}
	changed   chan struct{}

	// previous has, for each key with a pending change, the entry that the watch yielded last (nil
	// for none); order lists these keys, oldest first. The view's mu guards both.
	previous map[string]*entry
	order    []string
}

// notices holds the waiters for changes and entries. The view's mu guards it.
type notices struct {
	all     map[*watcher]struct{}
	byKey   map[string]map[*watcher]struct{}
	byID    map[string]map[*watcher]struct{}
	entries map[string]map[chan struct{}]struct{}
}

// entry notifies the waiters for any entry of the key.
func (n *notices) entry(key string) {
	for ch := range n.entries[key] {
		signal(ch)
	}
}

// change notifies the watchers that the key's content is no longer prev's, but next's. A watcher may
// be found more than once.
func (n *notices) change(key string, prev, next *entry) {
	for w := range n.all {
		w.note(key, prev)
	}
	for w := range n.byKey[key] {
		w.note(key, prev)
	}
	for w := range n.byID[prev.ownID()] {
		w.note(key, prev)
	}
	for w := range n.byID[next.ownID()] {
		w.note(key, prev)
	}
}

// sees returns the key's entry as the watcher knows it: nil if it watches neither the key nor the
// customer's id.
func (w *watcher) sees(key string, h *entry) *entry {
	if len(w.refs) == 0 {
		return h
	}
	if _, watched := w.keys[key]; watched {
		return h
	}
	if _, watched := w.ids[h.ownID()]; watched {
		return h
	}
	return nil
}

func (w *watcher) note(key string, prev *entry) {
	if _, noted := w.previous[key]; !noted {
		w.previous[key] = w.sees(key, prev)
		w.order = append(w.order, key)
	}
	signal(w.changed)
}

// signal does not block: one pending signal stands for any number of them.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (v *view) watch(refs []string) *watcher {
	w := &watcher{refs: slices.Clone(refs), changed: make(chan struct{}, 1), previous: map[string]*entry{}}
	for _, ref := range refs {
		switch name, isID := ParseRef(ref); {
		case !isID:
			add(&w.keys, name)
		case name != "": // the empty id is that of no customer
			add(&w.ids, name)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(refs) == 0 {
		add(&v.notices.all, w)
	}
	for key := range w.keys {
		addTo(&v.notices.byKey, key, w)
	}
	for id := range w.ids {
		addTo(&v.notices.byID, id, w)
	}
	return w
}

func (v *view) unwatch(w *watcher) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.notices.all, w)
	for key := range w.keys {
		removeFrom(v.notices.byKey, key, w)
	}
	for id := range w.ids {
		removeFrom(v.notices.byID, id, w)
	}
}

// now yields the initial state: all known customers, or what the watch was given, each customer once.
func (v *view) now(w *watcher) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		if len(w.refs) == 0 {
			for e := range v.byKey.all() {
				if change, known := v.initial(w, e.key); known && !yield(change) {
					return
				}
			}
			return
		}
		yielded := make(map[string]bool, len(w.refs))
		for _, ref := range w.refs {
			name, isID := ParseRef(ref)
			none := true
			for _, key := range v.named(ref) {
				if yielded[key] {
					none = false
					continue
				}
				change, known := v.initial(w, key)
				if isID && !known {
					continue // it has just moved to another id
				}
				none, yielded[key] = false, true
				if !yield(change) {
					return
				}
			}
			if unknown := idPrefix + name; isID && none && !yielded[unknown] {
				yielded[unknown] = true
				if !yield(Change{Key: unknown, Initial: true}) {
					return
				}
			}
		}
	}
}

// initial returns the key's current state as an Initial change, and whether the customer is known.
// It replaces a pending change of the key.
func (v *view) initial(w *watcher, key string) (Change, bool) {
	v.mu.Lock()
	h := v.entry(key)
	delete(w.previous, key)
	v.mu.Unlock()
	change := Change{Key: key, Initial: true}
	if h != nil {
		change.Revision = h.revision
	}
	h = w.sees(key, h)
	change.Snapshot = v.snapshot(h)
	return change, h.isKnown()
}

// pending yields the pending changes, oldest first, until none is left.
func (v *view) pending(w *watcher) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for {
			v.mu.Lock()
			if len(w.order) == 0 {
				w.order = nil // release the memory of a long queue
				v.mu.Unlock()
				return
			}
			key := w.order[0]
			w.order = w.order[1:]
			prev, noted := w.previous[key]
			delete(w.previous, key)
			h := v.entry(key)
			v.mu.Unlock()
			change := Change{Key: key}
			if h != nil {
				change.Revision = h.revision
			}
			h = w.sees(key, h)
			if !noted || !v.contentDiffers(prev, h) {
				continue
			}
			change.Snapshot, change.Previous = v.snapshot(h), v.snapshot(prev)
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
