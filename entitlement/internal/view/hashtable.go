package view

import (
	"hash/maphash"
	"iter"
	"sync/atomic"
)

// A hashTable finds entries by a name. Any number of goroutines read it without a lock while one writes.
// It takes 8 bytes a slot and one and a half to three slots an entry. A sync.Map takes several times
// as much for its nodes. An entry follows the slot of its hash without an empty slot in between.
type hashTable struct {
	slots atomic.Pointer[[]atomic.Pointer[Entry]] // their number is a power of two; nil before the first entry
	ids   bool                                    // the names are ids, not keys; set before the first entry
	// Only the writer uses both: the slots that are not empty, and those of them with an entry.
	used, live int
}

// removed is in the slot of an entry that is gone: the entries behind it must still be found.
var removed = new(Entry)

// hashSeed is not known to whoever chooses the ids of customers.
var hashSeed = maphash.MakeSeed()

func (t *hashTable) name(e *Entry) string {
	if t.ids {
		return e.id
	}
	return e.Key
}

// find returns the entry of the name, or nil.
func (t *hashTable) find(name string) *Entry {
	slots := t.slots.Load()
	if slots == nil {
		return nil
	}
	mask := uint64(len(*slots) - 1)
	for i := maphash.String(hashSeed, name) & mask; ; i = (i + 1) & mask {
		switch e := (*slots)[i].Load(); {
		case e == nil:
			return nil
		case e != removed && t.name(e) == name:
			return e
		}
	}
}

// all yields the entries, in no order. It may or may not show what is written meanwhile.
func (t *hashTable) all() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		slots := t.slots.Load()
		if slots == nil {
			return
		}
		for i := range *slots {
			if e := (*slots)[i].Load(); e != nil && e != removed && !yield(e) {
				return
			}
		}
	}
}

// replace puts next, or nothing if it is nil, in the place of prev, which has the same name. It
// reports whether prev was there.
func (t *hashTable) replace(prev, next *Entry) bool {
	slots := t.slots.Load()
	if slots == nil {
		return false
	}
	if next == nil {
		next = removed
	}
	mask := uint64(len(*slots) - 1)
	for i := maphash.String(hashSeed, t.name(prev)) & mask; ; i = (i + 1) & mask {
		switch (*slots)[i].Load() {
		case nil:
			return false
		case prev:
			(*slots)[i].Store(next)
			if next == removed {
				t.live--
			}
			return true
		}
	}
}

// add adds an entry whose name is not in the table.
func (t *hashTable) add(e *Entry) {
	slots := t.slots.Load()
	if slots == nil || (t.used+1)*3 > len(*slots)*2 {
		size := 8
		for size < 2*(t.live+1) {
			size *= 2
		}
		larger := make([]atomic.Pointer[Entry], size)
		t.used, t.live = 0, 0
		for old := range t.all() {
			t.insert(larger, old)
		}
		slots = &larger
		t.insert(larger, e)
		t.slots.Store(slots)
		return
	}
	t.insert(*slots, e)
}

func (t *hashTable) insert(slots []atomic.Pointer[Entry], e *Entry) {
	mask := uint64(len(slots) - 1)
	i := maphash.String(hashSeed, t.name(e)) & mask
	for slots[i].Load() != nil {
		i = (i + 1) & mask
	}
	slots[i].Store(e)
	t.used++
	t.live++
}
