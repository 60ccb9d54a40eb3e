package inspect

import (
	"maps"
	"slices"

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
}

// A reading collects the contents of a bucket.
type reading struct {
	found Contents
	byID  map[string][]string
}

func newReading() *reading { return &reading{byID: map[string][]string{}} }

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
	}
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
