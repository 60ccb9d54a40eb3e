package entitlement

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// A Difference is one field in which two snapshots differ.
type Difference struct {
	// Path is the field's JSON path, with the ids of subscriptions and items and the sources of
	// grants in it: status, subscriptions.sub_1.items.si_2.quantity, grants.sub_1.until. A
	// subscription, item or grant that was added or removed is one difference; so is any change of
	// a list of features, a metadata map, a map of limits, a payment method or a paused collection.
	Path string
	// From and To are the two values as compact JSON; empty where the field is absent.
	From, To string
}

// Diff returns the differences between two snapshots of a customer, sorted by path. It returns none
// exactly when they are [Snapshot.Equal], so as_of, changed_at, cause, plans_revision and
// facts_revision do not count. A nil or zero snapshot stands for an unknown customer and has no
// fields.
func Diff(prev, next *Snapshot) []Difference {
	var d differ
	d.objects("", prev.raw(), next.raw())
	slices.SortFunc(d, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return d
}

// raw returns the snapshot's content as JSON, nil for an unknown customer.
func (s *Snapshot) raw() json.RawMessage {
	if s == nil || s.Customer == "" {
		return nil
	}
	return s.content()
}

type differ []Difference

// objects compares two JSON objects field by field; an absent object has no fields. It works on
// JSON rather than on the structs, so that a field added later is compared without a change here.
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
		case name == "subscriptions", name == "items", name == "grants":
			d.lists(prefix+name, from, to)
		default:
			d.add(prefix+name, from, to)
		}
	}
}

// lists compares two different lists by the ids of their elements, or the sources of grants.
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
		// The elements are equal but their order differs, an id appears twice, or [] differs from
		// an absent list.
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
			ID     string `json:"id"`
			Source string `json:"source"` // of a grant
		}
		mustUnmarshal(e, &head)
		byID[cmp.Or(head.ID, head.Source)] = e
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
