package inspect

import (
	"maps"
	"slices"
	"time"

	"entitled/entitlement"
)

// Contents are facts about the snapshots in a bucket. Entries that cannot be read are left out: the
// next sync of the customer overwrites them.
type Contents struct {
	// Read says that every entry was read. The other fields are zero otherwise.
	Read bool
	// Number is the greatest number of a plans document under which a snapshot was decided.
	Number uint64
	// Problems counts the snapshots with problems; Problem is the key of one.
	Problems int
	Problem  string
	// Shared counts your own ids that stand at several customers. ID is the first of them in order,
	// and Keys are the keys of its customers, sorted.
	Shared int
	ID     string
	Keys   []string
	// Unbound counts the customers of your own account that have no id of yours and a subscription that
	// grants now. FirstUnbound is the smallest of their keys.
	Unbound      int
	FirstUnbound string
}

// A reading collects the contents of a bucket.
type reading struct {
	found Contents
	byID  map[string][]string
	now   time.Time
}

func newReading() *reading { return &reading{byID: map[string][]string{}, now: time.Now()} }

func (r *reading) add(key string, data []byte) {
	s, err := entitlement.Decode(data)
	if err != nil {
		return
	}
	r.found.Number = max(r.found.Number, s.PlansRevision)
	if len(s.Problems) > 0 {
		if r.found.Problems++; r.found.Problem == "" {
			r.found.Problem = key
		}
	}
	if s.ID != "" {
		r.byID[s.ID] = append(r.byID[s.ID], key)
	} else if s.Account == "" && subscribed(&s, r.now) {
		if r.found.Unbound++; r.found.FirstUnbound == "" || key < r.found.FirstUnbound {
			r.found.FirstUnbound = key
		}
	}
}

// subscribed reports whether a subscription of the customer grants at now.
func subscribed(s *entitlement.Snapshot, now time.Time) bool {
	return slices.ContainsFunc(s.Grants, func(g entitlement.Grant) bool {
		return (g.Until == nil || now.Unix() < *g.Until) &&
			slices.ContainsFunc(s.Subscriptions, func(sub entitlement.Subscription) bool { return sub.ID == g.Source })
	})
}

func (r *reading) contents() Contents {
	c := r.found
	c.Read = true
	maps.DeleteFunc(r.byID, func(_ string, keys []string) bool { return len(keys) < 2 })
	if c.Shared = len(r.byID); c.Shared > 0 {
		c.ID = slices.Min(slices.Collect(maps.Keys(r.byID)))
		c.Keys = slices.Sorted(slices.Values(r.byID[c.ID]))
	}
	return c
}
