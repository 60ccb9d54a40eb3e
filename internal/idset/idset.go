// Package idset holds large sets of ids, as hashes of 8 bytes each: about 20 bytes an id with the
// map, whatever its length. Two of a million ids have the same hash with a chance of 1 in 30
// million.
package idset

import "hash/maphash"

// A Set is a set of ids. The zero value is empty and cannot be added to.
type Set struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

// New returns an empty set.
func New() Set { return Set{maphash.MakeSeed(), make(map[uint64]struct{})} }

// Add adds an id.
func (s Set) Add(id string) { s.hashes[maphash.String(s.seed, id)] = struct{}{} }

// Has reports whether the set has the id.
func (s Set) Has(id string) bool {
	if len(s.hashes) == 0 {
		return false // also for the zero value, which has no seed
	}
	_, ok := s.hashes[maphash.String(s.seed, id)]
	return ok
}

// Len returns the number of ids.
func (s Set) Len() int { return len(s.hashes) }
