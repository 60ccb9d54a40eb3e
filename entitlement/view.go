package entitlement

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
)

// view is the client's copy of the bucket. Readers use it without a lock; only the
// goroutine that follows the bucket writes.
type view struct {
	mode  Mode
	byKey hashTable
	byID  index
	compactor

	// mu makes a write, its change of byID and its notice one step, so that a watcher gets every
	// state exactly once.
	mu      sync.Mutex
	notices notices

	// load counts the full loads of the bucket. Entries seen before load floor belong to an earlier
	// incarnation of the bucket, whose revisions cannot be compared. Only the goroutine that
	// follows the bucket uses both.
	load, floor uint32
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

// entry returns what is known about the key, nil for nothing.
func (v *view) entry(key string) *entry { return v.byKey.find(key) }

// apply stores one delivered entry and returns why it is unreadable.
func (v *view) apply(e jetstream.KeyValueEntry) error {
	if e.Operation() != jetstream.KeyValuePut {
		return v.take(e.Key(), e.Revision(), nil)
	}
	return v.take(e.Key(), e.Revision(), e.Value())
}

// take stores an entry of the bucket, a deletion if value is nil, and returns why it is unreadable. It
// ignores an entry older than the stored one: a restarted watch repeats entries.
func (v *view) take(key string, revision uint64, value []byte) error {
	v.advance(revision)
	v.entries.Add(1)
	prev := v.entry(key)
	current := prev != nil && prev.seen >= v.floor
	if current && revision <= prev.revision {
		prev.seen = v.load
		return nil
	}
	next, err := v.read(key, value)
	if err != nil && current {
		*next = *prev // the last readable snapshot stays in use
	}
	next.revision, next.seen, next.unreadable = revision, v.load, err
	v.put(prev, next)
	if err != nil {
		return err.error
	}
	return nil
}

// read makes the entry of a value, without a snapshot if there is no value, or none that can be
// read.
func (v *view) read(key string, value []byte) (*entry, *unreadable) {
	if value == nil {
		return &entry{key: strings.Clone(key)}, nil
	}
	encoded := string(value)
	s, err := read(v.mode, key, encoded)
	if err != nil {
		return &entry{key: strings.Clone(key)}, &unreadable{err}
	}
	return v.compactor.entry(key, &s, encoded), nil
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
	for e := range v.byKey.all() {
		if e.seen != v.load {
			v.put(e, nil)
		}
	}
}

// put replaces the entry of a key, nil for none, and notifies its waiters.
func (v *view) put(prev, next *entry) {
	v.count(prev, -1)
	v.count(next, +1)
	changed := v.contentDiffers(prev, next)
	if changed && v.loaded {
		v.changes.Add(1)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if prev != nil {
		v.byKey.replace(prev, next)
	} else {
		v.byKey.add(next)
	}
	v.byID.move(prev, next)
	key := cmp.Or(next, prev).key
	v.notices.entry(key)
	if changed {
		v.notices.change(key, prev, next)
	}
}

func (v *view) count(e *entry, n int) {
	if e == nil {
		return
	}
	v.keys += n
	if e.known {
		v.snapshots.Add(int64(n))
	}
	if e.unreadable != nil {
		v.unreadable.Add(int64(n))
	}
}

// contentDiffers reports whether a customer's content differs between two entries.
func (v *view) contentDiffers(a, b *entry) bool {
	if !a.isKnown() || !b.isKnown() {
		return a.isKnown() != b.isKnown()
	}
	if a.encoded != "" && a.encoded == b.encoded {
		return false
	}
	before, after := v.snapshot(a), v.snapshot(b)
	return !before.Equal(&after)
}

// snapshot returns what is known of an entry's customer; zero for an unknown one.
func (v *view) snapshot(e *entry) Snapshot {
	switch {
	case !e.isKnown():
		return Snapshot{}
	case e.encoded == "":
		return e.decision(v.mode)
	}
	s, err := decode(e.encoded)
	if err != nil {
		panic("decode a snapshot again: " + err.Error()) // it was decoded when it arrived
	}
	return s
}

// read decodes an entry and checks that the snapshot belongs to its key and mode: a mixed-up
// snapshot would grant one customer what another paid for.
func read(mode Mode, key, encoded string) (Snapshot, error) {
	account, customer, err := ParseKey(key)
	if err != nil {
		return Snapshot{}, err
	}
	s, err := decode(encoded)
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
