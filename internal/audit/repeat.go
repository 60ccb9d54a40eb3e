package audit

import (
	"crypto/sha256"
	"encoding/binary"
)

// Remembered is how many of the latest events a [Repeats] knows: a repeat further behind the original is not noticed. Stripe repeats
// within 3 days.
const Remembered = 1 << 20

// Repeats notices events that were stored more than once, which happens when Stripe repeats one outside the stream's
// window for duplicates. It holds 16 bytes an event and at most about 50 MB; it knows an event by 64 bits of a hash. The zero value is ready for use. It is not
// safe for concurrent use.
type Repeats struct {
	known map[uint64]struct{}
	ring  []uint64
	next  int
	limit int // 0: Remembered
}

// Seen remembers the event and reports whether it was remembered already. An event without an id is none that was seen.
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
