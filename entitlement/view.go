package entitlement

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
)

// entry is what the client knows about one key. An entry in the view is immutable, except for seen.
type entry struct {
	snapshot Snapshot // the last readable one; zero for an unknown customer
	revision uint64   // of the newest entry of the key, readable or not, which may be a deletion
	err      error    // why the newest entry is unreadable
	// seen is the number of the last load that received the key. Only the goroutine that
	// follows the bucket uses it.
	seen uint64
}

// known reports whether there is a snapshot to answer with. The receiver may be nil.
func (h *entry) known() bool { return h != nil && h.snapshot.Customer != "" }

// unknown is the snapshot of every unknown customer.
var unknown Snapshot

// view is the client's copy of the bucket. Readers use it without a lock; only the
// goroutine that follows the bucket writes.
type view struct {
	mode  Mode
	byKey sync.Map // string -> *entry; BenchmarkHas gives the reason for a sync.Map
	byID  sync.Map // ownID -> []string, the keys of the customers with the id, in no order

	// mu makes a write, its change of byID and its notice one step, so that a watcher gets every
	// state exactly once.
	mu      sync.Mutex
	notices notices

	// load counts the full loads of the bucket. Entries seen before load floor belong to an earlier
	// incarnation of the bucket, whose revisions cannot be compared. Only the goroutine that
	// follows the bucket uses both.
	load, floor uint64
	// number of keys in the view, including those whose newest entry is a deletion; compares with
	// the stream's subjects
	keys     int
	revision uint64 // every sequence up to it has been received or is known to be gone

	// loaded is true after the first load: entries that arrive from then on are changes.
	loaded bool

	// The counters of Status.
	snapshots, unreadable    atomic.Int64
	entries, changes, newest atomic.Uint64
}

func (v *view) entry(key string) *entry {
	h, _ := v.byKey.Load(key)
	e, _ := h.(*entry)
	return e
}

func (v *view) snapshot(key string) *Snapshot {
	if h, ok := v.byKey.Load(key); ok {
		return &h.(*entry).snapshot
	}
	return &unknown
}

// apply stores one delivered entry and returns why it is unreadable. It ignores an entry older than
// the stored one: a restarted watch repeats entries.
func (v *view) apply(e jetstream.KeyValueEntry) error {
	key, revision := e.Key(), e.Revision()
	v.advance(revision)
	v.entries.Add(1)
	prev := v.entry(key)
	if prev != nil && prev.seen >= v.floor && revision <= prev.revision {
		prev.seen = v.load
		return nil
	}
	next := &entry{revision: revision, seen: v.load}
	if e.Operation() == jetstream.KeyValuePut {
		next.snapshot, next.err = read(v.mode, key, e.Value())
		if next.err != nil && prev != nil && prev.seen >= v.floor {
			next.snapshot = prev.snapshot
		}
	}
	v.put(key, prev, next)
	return next.err
}

// advance records that every sequence up to revision is accounted for.
func (v *view) advance(revision uint64) {
	v.revision = max(v.revision, revision)
	v.newest.Store(v.revision)
}

// startLoad begins a full load of the bucket. If recreated is true, the bucket is not the one of
// the load before.
func (v *view) startLoad(recreated bool) {
	v.load++
	if recreated {
		v.floor, v.revision = v.load, 0
	}
}

// removeUnseen ends a full load: keys that it did not receive are gone from the bucket.
func (v *view) removeUnseen() {
	v.byKey.Range(func(k, h any) bool {
		if prev := h.(*entry); prev.seen != v.load {
			v.put(k.(string), prev, nil)
		}
		return true
	})
}

// put replaces the entry of a key, nil for none, and notifies its waiters.
func (v *view) put(key string, prev, next *entry) {
	v.count(prev, -1)
	v.count(next, +1)
	changed := contentDiffers(prev, next)
	if changed && v.loaded {
		v.changes.Add(1)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if next == nil {
		v.byKey.Delete(key)
	} else {
		v.byKey.Store(key, next)
	}
	v.reindex(key, prev, next)
	v.notices.entry(key)
	if changed {
		v.notices.change(key, prev, next)
	}
}

func (v *view) count(h *entry, n int) {
	if h == nil {
		return
	}
	v.keys += n
	if h.known() {
		v.snapshots.Add(int64(n))
	}
	if h.err != nil {
		v.unreadable.Add(int64(n))
	}
}

// contentDiffers reports whether a customer's content differs between two entries.
func contentDiffers(a, b *entry) bool {
	if !a.known() || !b.known() {
		return a.known() != b.known()
	}
	return !a.snapshot.Equal(&b.snapshot)
}

// read decodes an entry and checks that the snapshot belongs to its key and mode: a mixed-up
// snapshot would grant one customer what another paid for.
func read(mode Mode, key string, value []byte) (Snapshot, error) {
	account, customer, err := ParseKey(key)
	if err != nil {
		return Snapshot{}, err
	}
	s, err := Decode(value)
	switch {
	case err != nil:
		return Snapshot{}, err
	case s.Customer != customer || s.Account != account:
		return Snapshot{}, fmt.Errorf("the snapshot is of %s", Key(s.Account, s.Customer))
	case ModeOf(s.Livemode) != mode:
		return Snapshot{}, fmt.Errorf("the snapshot is of mode %s", ModeOf(s.Livemode))
	}
	return s, nil
}
