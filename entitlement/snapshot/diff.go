package snapshot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
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
	names := make([]string, 0, len(a)+len(b))
	for _, f := range a {
		names = append(names, f.name)
	}
	for _, f := range b {
		if a.value(f.name) == nil {
			names = append(names, f.name)
		}
	}
	for _, name := range names {
		from, to := a.value(name), b.value(name)
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

// members are the fields of an encoded object.
type members []member

type member struct {
	name  string
	value json.RawMessage
}

// value returns nil for a field that is absent.
func (m members) value(name string) json.RawMessage {
	for i := range m {
		if m[i].name == name {
			return m[i].value
		}
	}
	return nil
}

// fields splits an object of this package's own encoding, so it has neither spaces nor mistakes, and
// its names no escapes.
func fields(object json.RawMessage) (all members) {
	for rest := inside(object); len(rest) > 0; {
		n := valueLen(rest)
		name, value := rest[1:n-1], rest[n+1:]
		n = valueLen(value)
		all = append(all, member{string(name), value[:n]})
		rest = bytes.TrimPrefix(value[n:], []byte(","))
	}
	return all
}

// elements returns the elements of a list by their ids, or the sources of grants.
func elements(list json.RawMessage) map[string]json.RawMessage {
	byID := map[string]json.RawMessage{}
	for rest := inside(list); len(rest) > 0; {
		n := valueLen(rest)
		e := rest[:n]
		var id string
		f := fields(e)
		if quoted := cmp.Or(string(f.value("id")), string(f.value("source"))); quoted != "" {
			if err := json.Unmarshal([]byte(quoted), &id); err != nil {
				// The bytes are this package's own encoding.
				panic(fmt.Sprintf("read an encoded snapshot: %v", err))
			}
		}
		byID[id] = e
		rest = bytes.TrimPrefix(rest[n:], []byte(","))
	}
	return byID
}

// inside is an encoded object or list without its brackets; nothing for null.
func inside(b json.RawMessage) []byte {
	if len(b) == 0 || b[0] == 'n' {
		return nil
	}
	return b[1 : len(b)-1]
}

// valueLen is the length of the encoded value at the beginning of b.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(b)
}
