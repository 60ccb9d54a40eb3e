package syncer

import "hash/maphash"

// An idSet holds ids of customers as hashes, of 8 bytes each. That two of a million are the same has a chance of 1 in 30 million.
type idSet struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

func newIDSet() idSet {
	return idSet{maphash.MakeSeed(), make(map[uint64]struct{})}
}

func (s idSet) add(id string) { s.hashes[maphash.String(s.seed, id)] = struct{}{} }

func (s idSet) has(id string) bool {
	if len(s.hashes) == 0 {
		return false // the zero one too, which has no seed
	}
	_, ok := s.hashes[maphash.String(s.seed, id)]
	return ok
}

func (s idSet) len() int { return len(s.hashes) }
