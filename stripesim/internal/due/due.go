// Package due orders things by the time of their next change.
package due

import "container/heap"

// A Booking is when a thing changes next. It is a field of the thing, which has it in one [Heap].
type Booking struct {
	at int64 // unix seconds; 0 means never
}

// A Thing has a booking. Of several at one time, that with the smaller Order is first.
type Thing interface {
	comparable
	Booking() *Booking
	Order() uint64
}

// A Heap has things in the order of their bookings. The zero value is empty.
//
// An entry is stale, and skipped, if its time is no longer the booked time of its thing.
type Heap[T Thing] struct{ entries entries[T] }

type entry[T Thing] struct {
	at    int64
	thing T
}

type entries[T Thing] []entry[T]

func (h entries[T]) Len() int { return len(h) }
func (h entries[T]) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].thing.Order() < h[j].thing.Order()
}
func (h entries[T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *entries[T]) Push(x any)   { *h = append(*h, x.(entry[T])) }
func (h *entries[T]) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// Book sets when thing is next due, in unix seconds; 0 means never. While loading, entries are
// appended, and [Heap.Init] orders them once at the end.
func (h *Heap[T]) Book(thing T, at int64, loading bool) {
	b := thing.Booking()
	if b.at == at {
		return
	}
	b.at = at
	switch {
	case at == 0:
	case loading:
		h.entries = append(h.entries, entry[T]{at, thing})
	default:
		heap.Push(&h.entries, entry[T]{at, thing})
	}
}

// Init orders the entries of a load.
func (h *Heap[T]) Init() { heap.Init(&h.entries) }

// Next returns the time of the first change, 0 if there is none.
func (h *Heap[T]) Next() int64 {
	for len(h.entries) > 0 {
		if e := h.entries[0]; e.thing.Booking().at == e.at {
			return e.at
		}
		heap.Pop(&h.entries)
	}
	return 0
}

// Take removes and returns the first thing that is due at or before at, and its zero value if there is none.
func (h *Heap[T]) Take(at int64) (thing T) {
	if next := h.Next(); next == 0 || next > at {
		return thing
	}
	e := heap.Pop(&h.entries).(entry[T])
	e.thing.Booking().at = 0
	return e.thing
}
