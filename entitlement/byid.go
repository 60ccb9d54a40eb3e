package entitlement

import "slices"

// ownID is the id by which readers find the entry's customer, "" if it has none: an unknown customer,
// or one of a connected account. The owner of a connected account can write any id into its own
// customers' metadata, so those ids are not yours. The receiver may be nil.
func (h *entry) ownID() string {
	if !h.known() || h.snapshot.Account != "" {
		return ""
	}
	return h.snapshot.ID
}

// keysOf returns the keys of the customers with this id, in no order. A reader must check the id of
// their snapshots: a customer may move to another id between the two lookups.
func (v *view) keysOf(id string) []string {
	keys, _ := v.byID.Load(id)
	list, _ := keys.([]string)
	return list
}

// reindex moves the key from the id of prev to the id of next. The caller holds mu. Readers may
// have a list while it is replaced: a key is appended behind its end, and removed from a copy.
func (v *view) reindex(key string, prev, next *entry) {
	from, to := prev.ownID(), next.ownID()
	if from == to {
		return
	}
	if from != "" {
		keys := v.keysOf(from)
		rest := make([]string, 0, len(keys))
		for _, k := range keys {
			if k != key {
				rest = append(rest, k)
			}
		}
		if len(rest) > 0 {
			v.byID.Store(from, rest)
		} else {
			v.byID.Delete(from)
		}
	}
	if to != "" {
		v.byID.Store(to, append(v.keysOf(to), key))
	}
}

// keyed returns the snapshot of a known customer that is named by its key without a prefix, nil for
// every other argument. It is the common case, and the quickest to look up.
func (v *view) keyed(key string) *Snapshot {
	if likeKey(key) {
		if s := v.snapshot(key); s.Customer != "" {
			return s
		}
	}
	return nil
}

// find appends to list the snapshots of the known customers that a reader's argument names.
func (v *view) find(list []*Snapshot, ref string) []*Snapshot {
	name, isID := ParseRef(ref)
	if !isID {
		if s := v.snapshot(name); s.known() {
			list = append(list, s)
		}
		return list
	}
	for _, key := range v.keysOf(name) {
		if s := v.snapshot(key); s.ID == name {
			list = append(list, s)
		}
	}
	return list
}

// named returns the keys that a reader's argument stands for, sorted: the key itself, known or not, or
// those of the customers with the id.
func (v *view) named(ref string) []string {
	name, isID := ParseRef(ref)
	if !isID {
		return []string{name}
	}
	keys := make([]string, 0, 1)
	for _, key := range v.keysOf(name) {
		if v.snapshot(key).ID == name {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// first returns the key that stands for a reader's argument where only one can: the smallest of an
// id's customers. Without a customer it is the id with its prefix, which is the key of no entry.
func (v *view) first(ref string) string {
	if keys := v.named(ref); len(keys) > 0 {
		return keys[0]
	}
	name, _ := ParseRef(ref)
	return idPrefix + name
}
