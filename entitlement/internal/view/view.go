package view

import (
	"cmp"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"entitled/entitlement/snapshot"
)

// A View is the client's copy of the bucket. Readers use it without a lock; only the
// goroutine that follows the bucket writes.
type View struct {
	Mode  snapshot.Mode
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
	// Keys is the number of keys in the view, including those whose newest entry is a deletion; it
	// compares with the stream's subjects. Every sequence up to Revision has been received or is known
	// to be gone. Only the goroutine that follows the bucket uses both.
	Keys     int
	Revision uint64
	// Loaded is true after the first load: entries that arrive from then on are changes.
	Loaded bool

	// Snapshots is the number of known customers, Unreadable that of keys whose newest entry cannot be
	// read. Entries counts the entries received, Changes those that changed a customer's content after
	// the first load. Newest is the highest revision received.
	Snapshots, Unreadable    atomic.Int64
	Entries, Changes, Newest atomic.Uint64
}

// All yields every entry, in no order. It may or may not show what is written meanwhile.
func (v *View) All() iter.Seq[*Entry] { return v.byKey.all() }

// Entry returns what is known about the key, nil for nothing.
func (v *View) Entry(key string) *Entry { return v.byKey.find(key) }

// Take stores an entry of the bucket, a deletion if value is nil, and returns why it is unreadable. It
// ignores an entry older than the stored one: a restarted watch repeats entries.
func (v *View) Take(key string, revision uint64, value []byte) error {
	v.Advance(revision)
	v.Entries.Add(1)
	prev := v.Entry(key)
	current := prev != nil && prev.seen >= v.floor
	if current && revision <= prev.Revision {
		prev.seen = v.load
		return nil
	}
	next, err := v.read(key, value)
	if err != nil && current {
		*next = *prev // the last readable snapshot stays in use
	}
	next.Revision, next.seen, next.unreadable = revision, v.load, err
	v.put(prev, next)
	if err != nil {
		return err.error
	}
	return nil
}

// read makes the entry of a value, without a snapshot if there is no value, or none that can be
// read.
func (v *View) read(key string, value []byte) (*Entry, *unreadable) {
	if value == nil {
		return &Entry{Key: strings.Clone(key)}, nil
	}
	encoded := string(value)
	s, err := Read(v.Mode, key, encoded)
	if err != nil {
		return &Entry{Key: strings.Clone(key)}, &unreadable{err}
	}
	return v.entry(key, &s, encoded), nil
}

// Advance records that every sequence up to revision is accounted for.
func (v *View) Advance(revision uint64) {
	v.Revision = max(v.Revision, revision)
	v.Newest.Store(v.Revision)
}

// StartLoad begins a full load of the bucket. If recreated is true, the bucket is not the one of
// the load before.
func (v *View) StartLoad(recreated bool) {
	v.load++
	if recreated {
		v.floor, v.Revision = v.load, 0
	}
}

// RemoveUnseen ends a full load: keys that it did not receive are gone from the bucket.
func (v *View) RemoveUnseen() {
	for e := range v.byKey.all() {
		if e.seen != v.load {
			v.put(e, nil)
		}
	}
}

// put replaces the entry of a key, nil for none, and notifies its waiters.
func (v *View) put(prev, next *Entry) {
	v.count(prev, -1)
	v.count(next, +1)
	changed := v.contentDiffers(prev, next)
	if changed && v.Loaded {
		v.Changes.Add(1)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if prev != nil {
		v.byKey.replace(prev, next)
	} else {
		v.byKey.add(next)
	}
	v.byID.move(prev, next)
	key := cmp.Or(next, prev).Key
	v.notices.entry(key)
	if changed {
		v.notices.change(key, prev, next)
	}
}

func (v *View) count(e *Entry, n int) {
	if e == nil {
		return
	}
	v.Keys += n
	if e.known {
		v.Snapshots.Add(int64(n))
	}
	if e.unreadable != nil {
		v.Unreadable.Add(int64(n))
	}
}

// contentDiffers reports whether a customer's content differs between two entries.
func (v *View) contentDiffers(a, b *Entry) bool {
	if !a.Known() || !b.Known() {
		return a.Known() != b.Known()
	}
	if a.encoded != "" && a.encoded == b.encoded {
		return false
	}
	before, after := v.Snapshot(a), v.Snapshot(b)
	return !before.Equal(&after)
}

// Snapshot returns what is known of an entry's customer; zero for an unknown one.
func (v *View) Snapshot(e *Entry) snapshot.Snapshot {
	switch {
	case !e.Known():
		return snapshot.Snapshot{}
	case e.encoded == "":
		return e.decision(v.Mode)
	}
	s, err := snapshot.DecodeString(e.encoded)
	if err != nil {
		panic("decode a snapshot again: " + err.Error()) // it was decoded when it arrived
	}
	return s
}

// Read decodes an entry and checks that the snapshot belongs to its key and mode: a mixed-up
// Snapshot would grant one customer what another paid for.
func Read(mode snapshot.Mode, key, encoded string) (snapshot.Snapshot, error) {
	account, customer, err := snapshot.ParseKey(key)
	if err != nil {
		return snapshot.Snapshot{}, err
	}
	s, err := snapshot.DecodeString(encoded)
	switch {
	case err != nil:
		return snapshot.Snapshot{}, err
	case s.Customer != customer || s.Account != account:
		return snapshot.Snapshot{}, fmt.Errorf("the snapshot is of %s", snapshot.Key(s.Account, s.Customer))
	case snapshot.ModeOf(s.Livemode) != mode:
		return snapshot.Snapshot{}, fmt.Errorf("the snapshot is of mode %s", snapshot.ModeOf(s.Livemode))
	}
	return s, nil
}
