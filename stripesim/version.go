package stripesim

// historyKept is how long an object's earlier versions are kept, in nanoseconds of wall time. It
// bounds [Faults.ReadLag].
const historyKept = int64(60e9)

// version is one published state of an object. It is never changed, so a reader may keep and render
// it without a lock.
type version[T any] struct {
	val  *T
	at   int64 // stamp
	prev *version[T]
}

// history is an object's current state and its recent past.
type history[T any] struct{ head version[T] }

func (h *history[T]) get() *T { return h.head.val }

// set publishes val and drops the versions that no read lag can reach. Of the versions of one step,
// only the last is kept.
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

// asOf returns the state at a stamp, or nil if the object did not exist yet.
func (h *history[T]) asOf(at int64) *T {
	for v := &h.head; v != nil; v = v.prev {
		if v.at <= at {
			return v.val
		}
	}
	return nil
}
