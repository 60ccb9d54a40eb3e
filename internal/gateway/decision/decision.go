// Package decision says what a customer is allowed, as the gateway answers it: from the customers that
// a reference names to one [Decision], its JSON and its entity tag. It is pure: it reads no clock and
// no network.
package decision

import (
	"maps"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
)

// A Decision is the answer about a customer. Times are unix seconds, except as_of and stale_since,
// which are RFC 3339.
type Decision struct {
	// Customer is the bucket key; of several the smallest, and empty for an id that no customer
	// has.
	Customer string `json:"customer"`
	// Customers are all keys, sorted, if several customers have the id.
	Customers []string `json:"customers,omitempty"`
	ID        string   `json:"id,omitempty"`
	Known     bool     `json:"known"`
	// Deleted reports that all of the customers were deleted in Stripe.
	Deleted bool `json:"deleted,omitempty"`
	Allowed bool `json:"allowed"`
	// Until is when access ends; absent if it is open-ended, or if there is none.
	Until    *int64                       `json:"until,omitempty"`
	Status   string                       `json:"status"`
	Plans    []string                     `json:"plans"`
	Features []string                     `json:"features"`
	Limits   map[string]entitlement.Limit `json:"limits"`
	// Grants are the reasons for all of the answers, with those that have ended: a client that loses the
	// gateway ends each of them at its time. They are sorted by source, then customer.
	Grants []Grant `json:"grants"`
	// AsOf is the oldest reading of Stripe behind the answer.
	AsOf *time.Time `json:"as_of,omitempty"`
	// Revision is the greatest of the entries behind the answer; 0 without one.
	Revision uint64 `json:"revision"`
	// StaleSince is when the gateway last knew that it had the whole bucket; absent while it is
	// current.
	StaleSince *time.Time `json:"stale_since,omitempty"`
}

// A Grant is one reason for an answer, without the operator's note. Empty lists and maps are left
// out.
type Grant struct {
	Source   string                       `json:"source"`
	Plans    []string                     `json:"plans,omitempty"`
	Features []string                     `json:"features,omitempty"`
	Limits   map[string]entitlement.Limit `json:"limits,omitempty"`
	Adds     map[string]entitlement.Limit `json:"adds,omitempty"`
	Until    *int64                       `json:"until,omitempty"`
}

// statuses are Stripe's, the most favourable first.
var statuses = []string{
	"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired",
}

// rank orders statuses, the most favourable first: none is last, and an unknown one just before it.
func rank(status string) int {
	if status == entitlement.StatusNone {
		return len(statuses) + 1
	}
	if i := slices.Index(statuses, status); i >= 0 {
		return i
	}
	return len(statuses)
}

// Of makes the decision about a reference at now.
func Of(by Ref, f Found, stale *time.Time, now time.Time) Decision {
	if len(f.Entries) > 1 {
		f.Entries = slices.SortedFunc(slices.Values(f.Entries), func(a, b entitlement.Entry) int {
			return strings.Compare(a.Snapshot.Customer, b.Snapshot.Customer)
		})
	}
	c := f.Customers()
	d := Decision{
		Status: entitlement.StatusNone, Known: len(f.Entries) > 0, Allowed: c.Allowed(now),
		Plans: []string{}, Features: []string{}, Limits: map[string]entitlement.Limit{}, Grants: []Grant{},
		StaleSince: stale,
	}
	d.identify(by, f)
	features, limits, plans := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var end int64
	open := false
	for g := range f.grants() {
		d.Grants = append(d.Grants, Grant{g.Source, g.Plans, g.Features, g.Limits, g.Adds, g.Until})
		if g.Until != nil && now.Unix() >= *g.Until {
			continue
		}
		for _, name := range g.Features {
			features[name] = true
		}
		for name := range g.Limits {
			limits[name] = true
		}
		for name := range g.Adds {
			limits[name] = true
		}
		if g.Source == entitlement.SourceDefault {
			continue
		}
		for _, name := range g.Plans {
			plans[name] = true
		}
		if g.Until == nil {
			open = true
		} else {
			end = max(end, *g.Until)
		}
	}
	if d.Allowed && !open {
		d.Until = &end
	}
	d.Plans = append(d.Plans, slices.Sorted(maps.Keys(plans))...)
	d.Features = append(d.Features, slices.Sorted(maps.Keys(features))...)
	for name := range limits {
		d.Limits[name], _ = c.Limit(name, now)
	}
	slices.SortStableFunc(d.Grants, func(a, b Grant) int { return strings.Compare(a.Source, b.Source) })
	return d
}

// identify sets the fields that name the customers and their state, and AsOf and Revision.
func (d *Decision) identify(by Ref, f Found) {
	if by.IsID {
		d.ID = by.Name
	} else {
		d.Customer = by.Name
	}
	keys := make([]string, len(f.Entries))
	d.Deleted = len(f.Entries) > 0
	for i := range f.Entries {
		e := &f.Entries[i]
		d.Deleted = d.Deleted && e.Snapshot.Deleted
		keys[i] = e.Key
		d.Revision = max(d.Revision, e.Revision)
		if d.ID == "" {
			d.ID = e.Snapshot.ID
		}
		if at := e.Snapshot.AsOf; d.AsOf == nil || at.Before(*d.AsOf) {
			d.AsOf = &at
		}
		if rank(e.Snapshot.Status) < rank(d.Status) {
			d.Status = e.Snapshot.Status
		}
	}
	if len(keys) == 0 {
		return
	}
	slices.Sort(keys)
	d.Customer = keys[0]
	if len(keys) > 1 {
		d.Customers = keys
	}
}
