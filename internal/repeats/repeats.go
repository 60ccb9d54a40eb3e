// Package repeats notices events that were stored more than once.
package repeats

import (
	"crypto/sha256"
	"encoding/binary"

	"entitled/internal/stripeevent"
)

// Remembered is the number of the latest events that [Events] remembers: it does not notice a
// repeat further behind the original. Stripe repeats events within 3 days.
const Remembered = 1 << 20

// Events detects events that were stored more than once, because Stripe repeated them outside the
// stream's deduplication window. It needs 16 bytes per event and about 50 MB at most, and
// identifies an event by a 64-bit hash. The zero value is ready to use. It is not safe for
// concurrent use.
type Events struct {
	known map[uint64]struct{}
	ring  []uint64
	next  int
	limit int // 0: Remembered
}

// Seen remembers an event of an account and reports whether it was already remembered. An event without
// an id is never remembered.
func (r *Events) Seen(of stripeevent.Customer, id string) bool {
	if id == "" {
		return false
	}
	if r.known == nil {
		r.known = make(map[uint64]struct{})
		if r.limit == 0 {
			r.limit = Remembered
		}
	}
	sum := sha256.Sum256([]byte(string(of.Mode) + "\x00" + of.Account + "\x00" + id))
	hash := binary.LittleEndian.Uint64(sum[:])
	if _, ok := r.known[hash]; ok {
		return true
	}
	r.known[hash] = struct{}{}
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, hash)
		return false
	}
	delete(r.known, r.ring[r.next])
	r.ring[r.next] = hash
	r.next = (r.next + 1) % r.limit
	return false
}
