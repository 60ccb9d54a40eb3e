package plans

import (
	"maps"
	"math"
	"slices"

	"entitled/entitlement/snapshot"
)

// Decide makes the decision about a snapshot: what its facts grant under a document, nil for none.
// It replaces a former decision and leaves the facts as they are. It is pure: the same facts and
// document give the same decision, whatever was decided before, and the order of subscriptions,
// items and entitlements does not matter. Lists and maps of the snapshot are replaced, not written
// to.
//
// It returns false, and leaves the snapshot as it is, if the snapshot lacks facts that the document
// needs, because they did not fit into a message (see [snapshot.Snapshot].Omitted) or an earlier
// version did not keep them. Such a customer must be read from Stripe; the former decision, made
// from all facts, is better than one made from some.
func Decide(s *snapshot.Snapshot, d *Document) bool {
	doc := d.forAccount(s.Account)
	if doc.lacks(s) {
		return false
	}
	facts := Facts(*s)
	c := decision{doc: doc, s: &facts, bad: problems{}}
	c.decide()
	*s = facts
	return true
}

// lacks reports whether the snapshot lacks facts that the document needs. Parts of subscriptions
// that have ended are never needed.
func (d *Document) lacks(s *snapshot.Snapshot) bool {
	if s.Deleted {
		return false
	}
	if s.Grants == nil && s.Entitlements == nil && len(s.Features) > 0 {
		return true // an earlier version read entitlements, and kept them as the features alone
	}
	return slices.ContainsFunc(s.Omitted, func(part string) bool {
		switch part {
		case snapshot.OmittedSubscriptions:
			return true
		case snapshot.OmittedSubscriptionMetadata:
			return d.listens(OnSubscription)
		case snapshot.OmittedMetadata:
			return d.listens(OnCustomer) || d.IDs != nil && s.Account == ""
		}
		return false
	})
}

// Facts returns the snapshot without its decision: what Stripe said, and when.
func Facts(s snapshot.Snapshot) snapshot.Snapshot {
	s.ID, s.Access, s.AccessUntil, s.Features = "", false, nil, []string{}
	s.Limits, s.Grants, s.Problems, s.NextBoundary, s.PlansRevision = nil, nil, nil, nil, 0
	s.Subscriptions = slices.Clone(s.Subscriptions)
	for i := range s.Subscriptions {
		s.Subscriptions[i].Access = false
	}
	return s
}

// A decision is one in the making.
type decision struct {
	doc   *Document
	s     *snapshot.Snapshot // facts, which get the decision
	bad   problems
	trace trace // nil unless someone asks where the numbers come from
}

func (c *decision) decide() {
	s := c.s
	s.Grants, s.Limits, s.PlansRevision = []snapshot.Grant{}, map[string]snapshot.Limit{}, c.doc.Number
	if !s.Deleted {
		c.bySubscriptions()
		c.byStripe()
		c.byCustomer()
		if c.doc.IDs != nil && s.Account == "" {
			s.ID = s.Metadata[c.doc.IDs.Metadata]
		}
	}
	c.byDefault()
	slices.SortFunc(s.Grants, compareGrants)
	s.Problems = c.bad.list()
	c.summarize()
	s.NextBoundary = nextBoundary(s)
}

func (c *decision) bySubscriptions() {
	for i := range c.s.Subscriptions {
		sub := &c.s.Subscriptions[i]
		if g := c.bySubscription(sub); g != nil {
			sub.Access = c.s.AsOf.Unix() < endOf(g)
			c.s.Grants = append(c.s.Grants, *g)
		}
	}
}

// byStripe grants the active entitlements, for as long as a subscription grants.
func (c *decision) byStripe() {
	if c.doc.Entitlements("") == ReadNever || len(c.s.Entitlements) == 0 || len(c.s.Grants) == 0 {
		return
	}
	g := newGrant(snapshot.SourceStripe)
	g.Features = sortedSet(c.s.Entitlements)
	end := int64(math.MinInt64)
	for i := range c.s.Grants {
		end = max(end, endOf(&c.s.Grants[i]))
	}
	g.Until = unlessOpen(end)
	c.s.Grants = append(c.s.Grants, g)
}

// byCustomer grants what the customer's own metadata says, if it names a plan or a feature.
func (c *decision) byCustomer() {
	by := speaker{OnCustomer, snapshot.SourceCustomer}
	w := c.doc.read(by, c.s.Metadata, c.bad)
	switch {
	case w.void:
		return
	case len(w.plans) == 0 && len(w.features) == 0:
		for name := range w.limits {
			c.bad.add(by.source, wordLimit+name, "", snapshot.ProblemNoGrant)
		}
		for name := range w.adds {
			c.bad.add(by.source, wordAdd+name, "", snapshot.ProblemNoGrant)
		}
		return
	}
	sum := c.newSum(by.source)
	for _, name := range w.plans {
		c.addPlan(&sum, name, one)
	}
	c.contract(&sum, w)
	g := sum.grant()
	g.Until, g.Note = w.until, w.note
	c.s.Grants = append(c.s.Grants, g)
}

func (c *decision) byDefault() {
	d := c.doc.Default
	if d == nil {
		return
	}
	g := newGrant(snapshot.SourceDefault)
	g.Features = append(g.Features, d.Features...)
	maps.Copy(g.Limits, d.Limits)
	c.s.Grants = append(c.s.Grants, g)
}

// summarize sets the fields that say what the grants amount to at as_of, by the rules of the
// readers.
func (c *decision) summarize() {
	s, now := c.s, c.s.AsOf
	end := int64(math.MinInt64)
	var features []string
	for i := range s.Grants {
		g := &s.Grants[i]
		if now.Unix() >= endOf(g) {
			continue
		}
		if g.Source != snapshot.SourceDefault {
			s.Access, end = true, max(end, endOf(g))
		}
		features = append(features, g.Features...)
		for name := range g.Limits {
			s.Limits[name], _ = s.Limit(name, now)
		}
		for name := range g.Adds {
			s.Limits[name], _ = s.Limit(name, now)
		}
	}
	if s.Access {
		s.AccessUntil = unlessOpen(end)
	}
	s.Features = sortedSet(features)
}

// endOf is when a grant ends; the greatest number if it is open-ended.
func endOf(g *snapshot.Grant) int64 {
	if g.Until == nil {
		return math.MaxInt64
	}
	return *g.Until
}

func unlessOpen(end int64) *int64 {
	if end == math.MaxInt64 {
		return nil
	}
	return &end
}

func sortedSet(list []string) []string {
	set := append([]string{}, list...)
	slices.Sort(set)
	return slices.Compact(set)
}

// Alike reports whether two grants answer alike.
func Alike(a, b snapshot.Grant) bool {
	return a.Source == b.Source && endOf(&a) == endOf(&b) && slices.Equal(a.Features, b.Features) &&
		maps.Equal(a.Limits, b.Limits) && maps.Equal(a.Adds, b.Adds)
}
