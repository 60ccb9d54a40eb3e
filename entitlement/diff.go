package entitlement

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// A Difference is one place at which two snapshots disagree.
type Difference struct {
	// Path leads to the place by JSON names, with the ids of subscriptions and items in between: status,
	// subscriptions.sub_1.items.si_2.quantity. A subscription or item that came or went is one difference, and
	// so is a list of features, a metadata map, a payment method or a paused collection.
	Path string
	// From and To are the values there as compact JSON; empty where there is none.
	From, To string
}

// Diff returns the places at which two snapshots of a customer disagree, sorted by path; none exactly when they are
// [Snapshot.Equal]: as_of, changed_at and cause do not count. A nil or zero snapshot, an unknown customer's, has no
// field at all.
func Diff(prev, next *Snapshot) []Difference {
	var d differ
	d.objects("", prev.raw(), next.raw())
	slices.SortFunc(d, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return d
}

// raw is what counts of the snapshot as JSON.
func (s *Snapshot) raw() json.RawMessage {
	if s == nil || s.Customer == "" {
		return nil
	}
	return s.content()
}

type differ []Difference

// objects compares two JSON objects by field; an absent one has none. Working on the JSON rather than on the structs is
// what makes a field that is added later count without a line here.
func (d *differ) objects(prefix string, from, to json.RawMessage) {
	a, b := fields(from), fields(to)
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	for _, name := range names {
		from, to := a[name], b[name]
		switch {
		case bytes.Equal(from, to), name == "as_of", name == "changed_at", name == "cause":
		case name == "subscriptions", name == "items":
			d.lists(prefix+name, from, to)
		default:
			d.add(prefix+name, from, to)
		}
	}
}

// lists compares two unequal lists by the ids of their elements.
func (d *differ) lists(path string, from, to json.RawMessage) {
	before := len(*d)
	a, b := elements(from), elements(to)
	for id, from := range a {
		if to, both := b[id]; !both {
			d.add(path+"."+id, from, nil)
		} else if !bytes.Equal(from, to) {
			d.objects(path+"."+id+".", from, to)
		}
	}
	for id, to := range b {
		if _, both := a[id]; !both {
			d.add(path+"."+id, nil, to)
		}
	}
	if len(*d) == before {
		// Same elements in another order, an id twice, or [] against nothing.
		d.add(path, from, to)
	}
}

func (d *differ) add(path string, from, to json.RawMessage) {
	*d = append(*d, Difference{Path: path, From: string(from), To: string(to)})
}

func fields(object json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	mustUnmarshal(object, &m)
	return m
}

func elements(list json.RawMessage) map[string]json.RawMessage {
	var all []json.RawMessage
	mustUnmarshal(list, &all)
	byID := make(map[string]json.RawMessage, len(all))
	for _, e := range all {
		var head struct {
			ID string `json:"id"`
		}
		mustUnmarshal(e, &head)
		byID[head.ID] = e
	}
	return byID
}

func mustUnmarshal(data json.RawMessage, into any) {
	if len(data) == 0 {
		return
	}
	if err := json.Unmarshal(data, into); err != nil {
		// The bytes are this package's own encoding.
		panic(fmt.Sprintf("read an encoded snapshot: %v", err))
	}
}
