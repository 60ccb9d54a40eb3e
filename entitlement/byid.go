package entitlement

import (
	"slices"
	"strings"
	"sync"
)

// An index finds entries by the id of their customers.
type index struct {
	one hashTable // the ids that one customer has
	// several has the keys by each id that more than one customer had at the same time, in no order
	// (string -> []string). An id stays in it until no customer has the id.
	several sync.Map
}

// ownID is the id by which readers find the entry's customer, "" if it has none: an unknown customer,
// or one of a connected account. The owner of a connected account can write any id into its own
// customers' metadata, so those ids are not yours. The receiver may be nil.
func (e *entry) ownID() string {
	if !e.isKnown() || e.connected() {
		return ""
	}
	return e.id
}

// keys returns the keys of an id that several customers had. A reader must check the id of their
// entries: a customer may move to another id between the two lookups.
func (x *index) keys(id string) []string {
	keys, _ := x.several.Load(id)
	list, _ := keys.([]string)
	return list
}

// move replaces prev by next. The caller holds the view's mu. Readers may have a list of keys while
// it is replaced: a key is appended behind its end, and removed from a copy. Readers look into one
// before several, so an id is in both while it moves.
func (x *index) move(prev, next *entry) {
	from, to := prev.ownID(), next.ownID()
	if from == to {
		if to != "" {
			x.one.replace(prev, next)
		}
		return
	}
	if from != "" && !x.one.replace(prev, nil) {
		rest := slices.DeleteFunc(slices.Clone(x.keys(from)), func(key string) bool { return key == prev.key })
		if len(rest) > 0 {
			x.several.Store(from, rest)
		} else {
			x.several.Delete(from)
		}
	}
	if to == "" {
		return
	}
	if keys := x.keys(to); len(keys) > 0 {
		x.several.Store(to, append(keys, next.key))
	} else if other := x.one.find(to); other != nil {
		x.several.Store(to, []string{other.key, next.key})
		x.one.replace(other, nil)
	} else {
		if !x.one.ids {
			x.one.ids = true
		}
		x.one.add(next)
	}
}

// keyed returns the entry of a known customer that is named by its key without a prefix, nil for
// every other argument. It is the common case, and the quickest to look up.
func (v *view) keyed(key string) *entry {
	if likeKey(key) {
		if e := v.entry(key); e.isKnown() {
			return e
		}
	}
	return nil
}

// find appends to list the entries of the known customers that a reader's argument names, in no
// order.
func (v *view) find(list []*entry, ref string) []*entry {
	name, isID := ParseRef(ref)
	switch {
	case !isID:
		if e := v.entry(name); e.isKnown() {
			list = append(list, e)
		}
		return list
	case name == "": // the id of no customer
		return list
	}
	if e := v.byID.one.find(name); e != nil {
		return append(list, e)
	}
	for _, key := range v.byID.keys(name) {
		if e := v.entry(key); e.ownID() == name {
			list = append(list, e)
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
	for _, e := range v.find(nil, idPrefix+name) {
		keys = append(keys, e.key)
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

// connected reports whether the customer is one of a connected account.
func (e *entry) connected() bool { return strings.Contains(e.key, ".") }
