package syncer

import "hash/maphash"

// knownEvents are the ids of events in the log, as hashes: about 20 bytes each, whatever the ids. That a lost event's is among
// ten million others by chance has odds of one to a trillion.
type knownEvents struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

func newKnownEvents() *knownEvents {
	return &knownEvents{seed: maphash.MakeSeed(), hashes: make(map[uint64]struct{})}
}

func (k *knownEvents) add(id string) { k.hashes[maphash.String(k.seed, id)] = struct{}{} }

func (k *knownEvents) has(id string) bool {
	_, ok := k.hashes[maphash.String(k.seed, id)]
	return ok
}
