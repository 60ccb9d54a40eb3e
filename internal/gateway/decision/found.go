package decision

import (
	"iter"
	"time"

	"entitled/entitlement"
)

// Found are the customers behind a reference, and the default of the plans document.
type Found struct {
	Entries []entitlement.Entry
	Default *entitlement.Grant
}

// Customers returns the readers' form.
func (f Found) Customers() entitlement.Customers {
	c := entitlement.Customers{Default: f.Default, Snapshots: make([]*entitlement.Snapshot, len(f.Entries))}
	for i := range f.Entries {
		c.Snapshots[i] = &f.Entries[i].Snapshot
	}
	return c
}

// grants yields the grants behind the answers.
func (f Found) grants() iter.Seq[*entitlement.Grant] {
	return func(yield func(*entitlement.Grant) bool) {
		if len(f.Entries) == 0 && f.Default != nil && !yield(f.Default) {
			return
		}
		for i := range f.Entries {
			s := &f.Entries[i].Snapshot
			if s.Grants == nil && s.Access { // written by an earlier version
				if !yield(&entitlement.Grant{Features: s.Features, Until: s.AccessUntil}) {
					return
				}
			}
			for j := range s.Grants {
				if !yield(&s.Grants[j]) {
					return
				}
			}
		}
	}
}

// NextEnd returns the next instant at which a grant ends, and whether there is one.
func (f Found) NextEnd(now time.Time) (at time.Time, ok bool) {
	var next int64
	for g := range f.grants() {
		if g.Until != nil && *g.Until > now.Unix() && (!ok || *g.Until < next) {
			next, ok = *g.Until, true
		}
	}
	return time.Unix(next, 0), ok
}

// With replaces the entries that are older than a snapshot just read, and adds those that the view
// does not have.
func (f Found) With(read []entitlement.Snapshot, who Ref) Found {
	entries := make([]entitlement.Entry, 0, len(f.Entries)+len(read))
	entries = append(entries, f.Entries...)
next:
	for _, s := range read {
		key := entitlement.Key(s.Account, s.Customer)
		for i := range entries {
			if entries[i].Key == key {
				if entries[i].Snapshot.AsOf.Before(s.AsOf) {
					entries[i].Snapshot = s
				}
				continue next
			}
		}
		if !who.IsID || s.ID == who.Name && s.Account == "" {
			entries = append(entries, entitlement.Entry{Key: key, Snapshot: s})
		}
	}
	kept := entries[:0]
	for _, e := range entries {
		if !who.IsID || e.Snapshot.ID == who.Name {
			kept = append(kept, e)
		}
	}
	return Found{Entries: kept, Default: f.Default}
}
