package snapshot

import (
	"slices"
	"time"
)

// Customers are the customers that one key, or one id of yours, stands for: usually one; several
// that carry the same id; none for an id that is unknown. They answer together: each reader looks
// at the grants of all of them. The order of Snapshots does not matter.
type Customers struct {
	// Snapshots are of known customers. Nil and zero snapshots stand for unknown customers and
	// count for nothing.
	Snapshots []*Snapshot
	// Revisions are those of the bucket's newest entries of Snapshots, in their order, if
	// the client of package entitlement found them; else nil. No answer depends on them.
	Revisions []uint64
	// Default is the grant of the plans document for every customer. It answers if no customer is
	// known; the snapshot of a known customer has its own copy. Nil if there is none.
	Default *Grant
}

// A Reason says why a customer may use a feature, or why not.
type Reason string

// The reasons, in their order: of those that fit, the first is given.
const (
	// Granted: a live grant other than the default lists the feature.
	Granted Reason = "granted"
	// ByDefault: the default of the plans document lists the feature.
	ByDefault Reason = "default"
	// Ended: a grant lists the feature, and it has ended.
	Ended Reason = "ended"
	// NoFeature: the customer has access, and no grant lists the feature.
	NoFeature Reason = "no_feature"
	// NoGrant: the customer has no live grant other than the default.
	NoGrant Reason = "no_grant"
	// Deleted: the customer was deleted in Stripe.
	Deleted Reason = "deleted"
	// Unknown: there is no such customer.
	Unknown Reason = "unknown"
)

// An Answer says whether a customer may use a feature, and why.
type Answer struct {
	Allowed bool   `json:"allowed"`
	Reason  Reason `json:"reason"`
	// Source is the source of the grant behind [Granted], [ByDefault] and [Ended]: of several
	// grants that list the feature, the one that ends last. It is empty for a snapshot that has no
	// grants because an earlier version of entitled wrote it.
	Source string `json:"source,omitempty"`
	// Plan is the plan of that grant; empty if the grant has no plan, or several.
	Plan string `json:"plan,omitempty"`
	// Until, in unix seconds, is when that grant ends, or has ended; nil if it is open-ended.
	Until *int64 `json:"until,omitempty"`
}

// Keys returns the sorted bucket keys of the known customers; empty if none is known.
func (c Customers) Keys() []string {
	keys := make([]string, 0, len(c.Snapshots))
	for _, s := range c.Snapshots {
		if s.isKnown() {
			keys = append(keys, Key(s.Account, s.Customer))
		}
	}
	slices.Sort(keys)
	return keys
}

// Has reports whether some live grant lists the feature.
func (c Customers) Has(feature string, now time.Time) bool {
	return now.Unix() < c.featureEnd(feature)
}

// Allowed reports whether some grant other than the default is live.
func (c Customers) Allowed(now time.Time) bool { return now.Unix() < c.accessEnd() }

// featureEnd is when the last grant that lists the feature ends.
func (c Customers) featureEnd(feature string) int64 {
	end, known := never, false
	for _, s := range c.Snapshots {
		if s.isKnown() {
			end, known = max(end, s.featureEnd(feature)), true
		}
	}
	if !known && c.Default != nil && c.Default.has(feature) {
		end = c.Default.end()
	}
	return end
}

// accessEnd is when the last grant other than the default ends.
func (c Customers) accessEnd() int64 {
	end := never
	for _, s := range c.Snapshots {
		if s.isKnown() {
			end = max(end, s.accessEnd())
		}
	}
	return end
}

// Limit returns [Unlimited] if some live grant says so; else the largest live limit of that name (0
// without one) plus the sum of the live adds. It stops at [MaxLimit]. Known reports whether some
// live grant names the limit at all.
func (c Customers) Limit(name string, now time.Time) (limit Limit, known bool) {
	var sum total
	found := false
	for _, s := range c.Snapshots {
		if !s.isKnown() {
			continue
		}
		found = true
		for i := range s.Grants {
			sum.count(&s.Grants[i], name, now)
		}
	}
	if !found && c.Default != nil {
		sum.count(c.Default, name, now)
	}
	return sum.most.plus(sum.adds), sum.known
}

// A total sums up one limit.
type total struct {
	most, adds Limit
	known      bool
}

func (t *total) count(g *Grant, name string, now time.Time) {
	if now.Unix() >= g.end() {
		return
	}
	if l, ok := g.Limits[name]; ok {
		t.most, t.known = max(t.most, l), true
	}
	if l, ok := g.Adds[name]; ok {
		t.adds, t.known = t.adds.plus(l), true
	}
}

// Decide answers as [Customers.Has], and says why.
func (c Customers) Decide(feature string, now time.Time) Answer {
	// Of the grants that list the feature, the one that ends last: best without the default,
	// byDefault among defaults.
	var best, byDefault candidate
	access, known, living := never, false, false
	for of, s := range c.Snapshots {
		if !s.isKnown() {
			continue
		}
		known, living = true, living || !s.Deleted
		access = max(access, s.accessEnd())
		if end := s.earlierEnd(feature); end != never {
			best = c.better(best, candidate{of: of, until: until(end), end: end, found: true})
		}
		for i := range s.Grants {
			switch g := &s.Grants[i]; {
			case !g.has(feature):
			case g.Source == SourceDefault:
				byDefault = c.better(byDefault, g.candidate(of))
			default:
				best = c.better(best, g.candidate(of))
			}
		}
	}
	if !known && c.Default != nil && c.Default.has(feature) {
		// The default has no plan. An answer with parts of it would let the snapshots escape.
		end := c.Default.end()
		byDefault = candidate{source: SourceDefault, until: until(end), end: end, found: true}
	}
	switch at := now.Unix(); {
	case best.found && at < best.end:
		return best.answer(true, Granted)
	case byDefault.found && at < byDefault.end:
		return byDefault.answer(true, ByDefault)
	case best.found:
		return best.answer(false, Ended)
	case at < access:
		return Answer{Reason: NoFeature}
	case living:
		return Answer{Reason: NoGrant}
	case known:
		return Answer{Reason: Deleted}
	}
	return Answer{Reason: Unknown}
}

// A candidate is a grant that lists a feature.
type candidate struct {
	of           int // the index of its snapshot; not the customer, so that Decide lets no snapshot escape
	source, plan string
	until        *int64
	end          int64
	found        bool
}

func (g *Grant) candidate(of int) candidate {
	return candidate{of, g.Source, g.plan(), g.Until, g.end(), true}
}

// better prefers the later end, then the smaller source and customer, so that no order of the input
// shows.
func (c Customers) better(a, b candidate) candidate {
	switch {
	case !a.found, b.end > a.end:
		return b
	case b.end < a.end:
		return a
	}
	if b.source < a.source || b.source == a.source && c.Snapshots[b.of].Customer < c.Snapshots[a.of].Customer {
		return b
	}
	return a
}

func (c candidate) answer(allowed bool, reason Reason) Answer {
	return Answer{Allowed: allowed, Reason: reason, Source: c.source, Plan: c.plan, Until: c.until}
}

// Allowed reports whether the customer has access at now: some grant other than the default is
// live. The zero Snapshot, which stands for an unknown customer, has none.
func (s *Snapshot) Allowed(now time.Time) bool { return now.Unix() < s.accessEnd() }

// Has reports whether the customer may use a feature at now: some live grant lists the feature's
// lookup key. The default of the plans document is such a grant.
func (s *Snapshot) Has(feature string, now time.Time) bool { return now.Unix() < s.featureEnd(feature) }

// Limit returns the customer's limit at now, and whether some live grant names it: see
// [Customers.Limit].
func (s *Snapshot) Limit(name string, now time.Time) (limit Limit, known bool) {
	one := [1]*Snapshot{s}
	return Customers{Snapshots: one[:]}.Limit(name, now)
}

// Decide answers as [Snapshot.Has], and says why: see [Customers.Decide].
func (s *Snapshot) Decide(feature string, now time.Time) Answer {
	one := [1]*Snapshot{s}
	return Customers{Snapshots: one[:]}.Decide(feature, now)
}

func (s *Snapshot) isKnown() bool { return s != nil && s.Customer != "" }

// featureEnd is when the last grant that lists the feature ends. A reader need not look at the
// clock if that is open or never.
func (s *Snapshot) featureEnd(feature string) int64 {
	end := s.earlierEnd(feature)
	for i := range s.Grants {
		if g := &s.Grants[i]; g.end() > end && g.has(feature) {
			end = g.end()
		}
	}
	return end
}

// accessEnd is when the last grant other than the default ends.
func (s *Snapshot) accessEnd() int64 {
	end := never
	if s.Grants == nil && s.Access {
		end = (&Grant{Until: s.AccessUntil}).end()
	}
	for i := range s.Grants {
		if g := &s.Grants[i]; g.Source != SourceDefault {
			end = max(end, g.end())
		}
	}
	return end
}

// earlierEnd is when the customer loses the feature in a snapshot without grants, which an earlier
// version of entitled wrote.
func (s *Snapshot) earlierEnd(feature string) int64 {
	if s.Grants != nil || !s.Access {
		return never
	}
	g := Grant{Features: s.Features, Until: s.AccessUntil}
	if !g.has(feature) {
		return never
	}
	return g.end()
}

// until is the Until of a grant with this end.
func until(end int64) *int64 {
	if end == open {
		return nil
	}
	return new(end)
}
