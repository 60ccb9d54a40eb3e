package view

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"entitled/entitlement/snapshot"
)

// A Change is a change of one customer's content, as entitlement.Change documents it.
type Change struct {
	Key                string
	Revision           uint64
	Snapshot, Previous snapshot.Snapshot
	Initial            bool
}

// A Watcher gets the changes of the customers that it watches.
type Watcher struct {
	refs      []string // as given; empty: all
	keys, ids map[string]struct{}
	// Changed receives when there is a change to take by [View.Pending].
	Changed chan struct{}

	// previous has, for each key with a pending change, the entry that the watch yielded last (nil
	// for none); order lists these keys, oldest first. The view's mu guards both.
	previous map[string]*Entry
	order    []string
}

// notices holds the waiters for changes and entries. The view's mu guards it.
type notices struct {
	all     map[*Watcher]struct{}
	byKey   map[string]map[*Watcher]struct{}
	byID    map[string]map[*Watcher]struct{}
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
func (n *notices) change(key string, prev, next *Entry) {
	for w := range n.all {
		w.note(key, prev)
	}
	for w := range n.byKey[key] {
		w.note(key, prev)
	}
	for w := range n.byID[prev.OwnID()] {
		w.note(key, prev)
	}
	for w := range n.byID[next.OwnID()] {
		w.note(key, prev)
	}
}

// sees returns the key's entry as the watcher knows it: nil if it watches neither the key nor the
// customer's id.
func (w *Watcher) sees(key string, h *Entry) *Entry {
	if len(w.refs) == 0 {
		return h
	}
	if _, watched := w.keys[key]; watched {
		return h
	}
	if _, watched := w.ids[h.OwnID()]; watched {
		return h
	}
	return nil
}

func (w *Watcher) note(key string, prev *Entry) {
	if _, noted := w.previous[key]; !noted {
		w.previous[key] = w.sees(key, prev)
		w.order = append(w.order, key)
	}
	signal(w.Changed)
}

// signal does not block: one pending signal stands for any number of them.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Watch begins a watch of the customers that readers' arguments name, all without any.
func (v *View) Watch(refs []string) *Watcher {
	w := &Watcher{refs: slices.Clone(refs), Changed: make(chan struct{}, 1), previous: map[string]*Entry{}}
	for _, ref := range refs {
		switch name, isID := snapshot.ParseRef(ref); {
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

// Unwatch ends a watch.
func (v *View) Unwatch(w *Watcher) {
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

// Now yields the initial state: all known customers, or what the watch was given, each customer once.
func (v *View) Now(w *Watcher) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		if len(w.refs) == 0 {
			for e := range v.byKey.all() {
				if change, known := v.initial(w, e.Key); known && !yield(change) {
					return
				}
			}
			return
		}
		yielded := make(map[string]bool, len(w.refs))
		for _, ref := range w.refs {
			name, isID := snapshot.ParseRef(ref)
			none := true
			for _, key := range v.Named(ref) {
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
			if unknown := IDPrefix + name; isID && none && !yielded[unknown] {
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
func (v *View) initial(w *Watcher, key string) (Change, bool) {
	v.mu.Lock()
	h := v.Entry(key)
	delete(w.previous, key)
	v.mu.Unlock()
	change := Change{Key: key, Initial: true}
	if h != nil {
		change.Revision = h.Revision
	}
	h = w.sees(key, h)
	change.Snapshot = v.Snapshot(h)
	return change, h.Known()
}

// Pending yields the pending changes, oldest first, until none is left.
func (v *View) Pending(w *Watcher) iter.Seq[Change] {
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
			h := v.Entry(key)
			v.mu.Unlock()
			change := Change{Key: key}
			if h != nil {
				change.Revision = h.Revision
			}
			h = w.sees(key, h)
			if !noted || !v.contentDiffers(prev, h) {
				continue
			}
			change.Snapshot, change.Previous = v.Snapshot(h), v.Snapshot(prev)
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

// Await waits until the view has the given revision of the key, or a later one.
func (v *View) Await(ctx context.Context, key string, revision uint64) error {
	entry := make(chan struct{}, 1)
	v.mu.Lock()
	addTo(&v.notices.entries, key, entry)
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		removeFrom(v.notices.entries, key, entry)
		v.mu.Unlock()
	}()
	for {
		var have uint64
		v.mu.Lock() // until the entry is found by its id, too
		if e := v.Entry(key); e != nil {
			have = e.Revision
		}
		v.mu.Unlock()
		if have >= revision {
			return nil
		}
		select {
		case <-entry:
		case <-ctx.Done():
			return fmt.Errorf("revision %d is written, but the watch has not delivered it: %w",
				revision, context.Cause(ctx))
		}
	}
}
