package entitlement

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
)

// held is what the client knows of one key. It is not changed once it is in the view, but for seen.
type held struct {
	snapshot Snapshot // the last readable one; zero while there is none: an unknown customer
	revision uint64   // of the newest entry, readable or not, a deletion included
	err      error    // why the newest entry is unreadable
	// seen is the load that last met the key; only the client's goroutine touches it.
	seen uint64
}

// known says that there is a snapshot to answer with.
func (h *held) known() bool { return h != nil && h.snapshot.Customer != "" }

// unknown stands for the snapshot of every customer that is not held.
var unknown Snapshot

// view is the client's copy of the bucket. Readers share it without a lock; writes come from the client's goroutine only.
type view struct {
	mode  Mode
	byKey sync.Map // string -> *held; see BenchmarkHas for why a sync.Map

	// mu makes a write and its notice one step for those who wait, so that a watcher is told of each state once.
	mu      sync.Mutex
	notices notices

	// load counts the full readings of the bucket, and entries seen before load floor are from another incarnation of
	// it, whose revisions mean nothing in this one. Both belong to the client's goroutine.
	load, floor uint64
	keys        int    // keys held, those of deletions included: the bucket's subjects
	revision    uint64 // the highest met; sequences of the stream up to it are accounted for

	// live says that the first load is complete, so that what comes is a change.
	live bool

	// What Status shows.
	snapshots, unreadable    atomic.Int64
	entries, changes, newest atomic.Uint64
}

func (v *view) held(key string) *held {
	h, _ := v.byKey.Load(key)
	e, _ := h.(*held)
	return e
}

func (v *view) snapshot(key string) *Snapshot {
	if h, ok := v.byKey.Load(key); ok {
		return &h.(*held).snapshot
	}
	return &unknown
}

// apply takes in one entry and returns why it is unreadable. Entries that are older than what is held are left out: a
// watch that was set up anew repeats them.
func (v *view) apply(e jetstream.KeyValueEntry) error {
	key, revision := e.Key(), e.Revision()
	v.advance(revision)
	v.entries.Add(1)
	prev := v.held(key)
	if prev != nil && prev.seen >= v.floor && revision <= prev.revision {
		prev.seen = v.load
		return nil
	}
	next := &held{revision: revision, seen: v.load}
	if e.Operation() == jetstream.KeyValuePut {
		next.snapshot, next.err = read(v.mode, key, e.Value())
		if next.err != nil && prev != nil && prev.seen >= v.floor {
			next.snapshot = prev.snapshot
		}
	}
	v.put(key, prev, next)
	return next.err
}

// advance notes that every sequence up to revision is accounted for.
func (v *view) advance(revision uint64) {
	v.revision = max(v.revision, revision)
	v.newest.Store(v.revision)
}

// startLoad begins a full reading of the bucket; anew says that it is not the bucket of the reading before.
func (v *view) startLoad(anew bool) {
	v.load++
	if anew {
		v.floor, v.revision = v.load, 0
	}
}

// sweep ends a full reading: keys that it did not meet are gone from the bucket.
func (v *view) sweep() {
	v.byKey.Range(func(k, h any) bool {
		if prev := h.(*held); prev.seen != v.load {
			v.put(k.(string), prev, nil)
		}
		return true
	})
}

// put replaces what is held of a key, nil for nothing, and tells those who wait for it.
func (v *view) put(key string, prev, next *held) {
	v.count(prev, -1)
	v.count(next, +1)
	changed := contentDiffers(prev, next)
	if changed && v.live {
		v.changes.Add(1)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if next == nil {
		v.byKey.Delete(key)
	} else {
		v.byKey.Store(key, next)
	}
	v.notices.entry(key)
	if changed {
		v.notices.change(key, prev)
	}
}

func (v *view) count(h *held, n int) {
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

// contentDiffers reports whether a customer's content differs.
func contentDiffers(a, b *held) bool {
	if !a.known() || !b.known() {
		return a.known() != b.known()
	}
	return !a.snapshot.Equal(&b.snapshot)
}

// read decodes an entry and makes sure that it is the snapshot that its place says: a mix of customers, accounts or
// modes would grant one what another paid for.
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
