package view

import (
	"slices"
	"strings"
	"sync"
	"time"

	"entitled/entitlement/snapshot"
)

// IDPrefix says that the rest of a reader's argument is an id.
const IDPrefix = "id:"

// An index finds entries by the id of their customers.
type index struct {
	one hashTable // the ids that one customer has
	// several has the keys by each id that more than one customer had at the same time, in no order
	// (string -> []string). An id stays in it until no customer has the id.
	several sync.Map
}

// OwnID is the id by which readers find the entry's customer, "" if it has none: an unknown customer,
// or one of a connected account. The owner of a connected account can write any id into its own
// customers' metadata, so those ids are not yours. The receiver may be nil.
func (e *Entry) OwnID() string {
	if !e.Known() || e.connected() {
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
func (x *index) move(prev, next *Entry) {
	from, to := prev.OwnID(), next.OwnID()
	if from == to {
		if to != "" {
			x.one.replace(prev, next)
		}
		return
	}
	if from != "" && !x.one.replace(prev, nil) {
		rest := slices.DeleteFunc(slices.Clone(x.keys(from)), func(key string) bool { return key == prev.Key })
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
		x.several.Store(to, append(keys, next.Key))
	} else if other := x.one.find(to); other != nil {
		x.several.Store(to, []string{other.Key, next.Key})
		x.one.replace(other, nil)
	} else {
		if !x.one.ids {
			x.one.ids = true
		}
		x.one.add(next)
	}
}

// FeatureEnd returns when the last grant that lists the feature ends, of the customers that a reader's
// argument names, and whether there is one. It allocates nothing.
func (v *View) FeatureEnd(ref, feature string) (end int64, known bool) {
	if e := v.keyed(ref); e != nil {
		return e.FeatureEnd(feature), true
	}
	var room [together]*Entry
	end = Never
	for _, e := range v.Find(room[:0], ref) {
		end, known = max(end, e.FeatureEnd(feature)), true
	}
	return end, known
}

// AccessEnd returns when the last grant other than the default ends, of the customers that a reader's
// argument names. It allocates nothing.
func (v *View) AccessEnd(ref string) int64 {
	if e := v.keyed(ref); e != nil {
		return e.AccessEnd()
	}
	var room [together]*Entry
	end := Never
	for _, e := range v.Find(room[:0], ref) {
		end = max(end, e.AccessEnd())
	}
	return end
}

// together is the number of customers with one id that readers find without allocation.
const together = 4

// Decide answers for the customers that a reader's argument names, with the default of the plans
// document for unknown ones. It allocates nothing for a few customers with a few grants.
func (v *View) Decide(ref, feature string, standard *snapshot.Grant, now time.Time) snapshot.Answer {
	var room [together]*Entry
	found := v.Find(room[:0], ref)
	if len(found) > together {
		return v.customers(found, standard).Decide(feature, now)
	}
	// The arrays stay on the stack because they are filled here.
	var grants [together][together]snapshot.Grant
	var s [together]snapshot.Snapshot
	all := [together]*snapshot.Snapshot{&s[0], &s[1], &s[2], &s[3]}
	for i, e := range found {
		s[i] = e.deciding(grants[i][:0])
	}
	return snapshot.Customers{Snapshots: all[:len(found)], Default: standard}.Decide(feature, now)
}

// Limit answers as Decide does.
func (v *View) Limit(ref, name string, standard *snapshot.Grant, now time.Time) (snapshot.Limit, bool) {
	var room [together]*Entry
	found := v.Find(room[:0], ref)
	if len(found) > together {
		return v.customers(found, standard).Limit(name, now)
	}
	var grants [together][together]snapshot.Grant
	var s [together]snapshot.Snapshot
	all := [together]*snapshot.Snapshot{&s[0], &s[1], &s[2], &s[3]}
	for i, e := range found {
		s[i] = e.deciding(grants[i][:0])
	}
	return snapshot.Customers{Snapshots: all[:len(found)], Default: standard}.Limit(name, now)
}

func (v *View) customers(found []*Entry, standard *snapshot.Grant) snapshot.Customers {
	all := snapshot.Customers{Default: standard}
	for _, e := range found {
		all.Snapshots = append(all.Snapshots, new(e.deciding(nil)))
	}
	return all
}

// keyed returns the entry of a known customer that is named by its key without a prefix, nil for
// every other argument. It is the common case, and the quickest to look up.
func (v *View) keyed(ref string) *Entry {
	if key, isID := snapshot.ParseRef(ref); !isID && len(key) == len(ref) {
		if e := v.Entry(key); e.Known() {
			return e
		}
	}
	return nil
}

// Find appends to list the entries of the known customers that a reader's argument names, in no
// order.
func (v *View) Find(list []*Entry, ref string) []*Entry {
	name, isID := snapshot.ParseRef(ref)
	switch {
	case !isID:
		if e := v.Entry(name); e.Known() {
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
		if e := v.Entry(key); e.OwnID() == name {
			list = append(list, e)
		}
	}
	return list
}

// Named returns the keys that a reader's argument stands for, sorted: the key itself, known or not, or
// those of the customers with the id.
func (v *View) Named(ref string) []string {
	name, isID := snapshot.ParseRef(ref)
	if !isID {
		return []string{name}
	}
	keys := make([]string, 0, 1)
	for _, e := range v.Find(nil, IDPrefix+name) {
		keys = append(keys, e.Key)
	}
	slices.Sort(keys)
	return keys
}

// First returns the key that stands for a reader's argument where only one can: the smallest of an
// id's customers. Without a customer it is the id with its prefix, which is the key of no entry.
func (v *View) First(ref string) string {
	if keys := v.Named(ref); len(keys) > 0 {
		return keys[0]
	}
	name, _ := snapshot.ParseRef(ref)
	return IDPrefix + name
}

// connected reports whether the customer is one of a connected account.
func (e *Entry) connected() bool { return strings.Contains(e.Key, ".") }
