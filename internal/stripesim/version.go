package stripesim

// historyKept is how far back, in nanoseconds of wall time, an object's past stays
// readable; it bounds [Faults.ReadLag].
const historyKept = int64(60e9)

// version is one published state of an object. It is never changed afterwards, so a
// reader may keep it and render it without a lock.
type version[T any] struct {
	val  *T
	at   int64 // wall nanoseconds since the Sim began
	prev *version[T]
}

// history is an object's current state and its recent past.
type history[T any] struct{ head version[T] }

func (h *history[T]) get() *T { return h.head.val }

// set publishes val and forgets versions no permitted read lag can reach. Several versions
// of one step count as the last.
func (h *history[T]) set(val *T, at int64) {
	if h.head.val != nil && h.head.at != at {
		old := h.head
		h.head.prev = &old
	}
	h.head.val, h.head.at = val, at
	for v := &h.head; v != nil; v = v.prev {
		if v.at <= at-historyKept {
			v.prev = nil
		}
	}
}

// asOf is the state at a wall instant, nil when the object did not exist yet.
func (h *history[T]) asOf(at int64) *T {
	for v := &h.head; v != nil; v = v.prev {
		if v.at <= at {
			return v.val
		}
	}
	return nil
}
