package audit

import (
	"crypto/sha256"
	"encoding/binary"
)

// Remembered is the number of the latest events that a [Repeats] remembers: it does not notice a
// repeat further behind the original. Stripe repeats events within 3 days.
const Remembered = 1 << 20

// Repeats detects events that were stored more than once, because Stripe repeated them outside the
// stream's deduplication window. It needs 16 bytes per event and about 50 MB at most, and
// identifies an event by a 64-bit hash. The zero value is ready to use. It is not safe for
// concurrent use.
type Repeats struct {
	known map[uint64]struct{}
	ring  []uint64
	next  int
	limit int // 0: Remembered
}

// Seen remembers the event and reports whether it was already remembered. An event without an id is
// never remembered.
func (r *Repeats) Seen(e *Event) bool {
	if e.ID == "" {
		return false
	}
	if r.known == nil {
		r.known = make(map[uint64]struct{})
		if r.limit == 0 {
			r.limit = Remembered
		}
	}
	sum := sha256.Sum256([]byte(string(e.Customer.Mode) + "\x00" + e.Customer.Account + "\x00" + e.ID))
	id := binary.LittleEndian.Uint64(sum[:])
	if _, ok := r.known[id]; ok {
		return true
	}
	r.known[id] = struct{}{}
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, id)
		return false
	}
	delete(r.known, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % r.limit
	return false
}
