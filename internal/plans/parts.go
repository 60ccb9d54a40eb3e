package plans

import (
	"time"

	"entitled/entitlement/snapshot"
)

// A Part is one number that a limit is made of.
type Part struct {
	// Source is the source of the grant.
	Source string
	// Plan is the plan of the document that says the number, "" if the metadata of Object does: a
	// price, a subscription, or [snapshot.SourceCustomer]. A part of the default has neither.
	Plan, Object string
	// Limit is the number: Amount for Quantity, at most [snapshot.MaxLimit].
	Limit    snapshot.Limit
	Amount   Amount
	Quantity int64
	// Grant is set, and what is above but Source and Limit is not, if only the number of the whole
	// grant is known, because it was decided under a document that is gone.
	Grant *snapshot.Grant
}

// Parts returns what the customers' limit of a name is made of at an instant: first the largest
// number, then those that are added to it. They sum to [snapshot.Customers.Limit], and there are
// none if no live grant names the limit. document returns the document of a number, and whether it is
// there.
func Parts(c snapshot.Customers, document func(number uint64) (*Document, bool), name string,
	now time.Time) []Part {
	var largest *Part
	var added []Part
	known := false
	count := func(g *snapshot.Grant, t trace) {
		if now.Unix() >= endOf(g) {
			return
		}
		whole := Part{Source: g.Source, Grant: g}
		if g.Source == snapshot.SourceDefault {
			whole.Grant = nil
		}
		if l, ok := g.Limits[name]; ok && (largest == nil || l > largest.Limit) {
			largest = &Part{}
			*largest = whole
			largest.Limit = l
			if found := t[traceKey{g.Source, name, false}]; len(found) == 1 {
				largest = &found[0]
			}
		}
		if l, ok := g.Adds[name]; ok {
			whole.Limit = l
			parts := t[traceKey{g.Source, name, true}]
			if parts == nil {
				parts = []Part{whole}
			}
			added = append(added, parts...)
		}
	}
	for _, s := range c.Snapshots {
		if s == nil || s.Customer == "" {
			continue
		}
		known = true
		traces := tracesOf(s, document)
		for i := range s.Grants {
			count(&s.Grants[i], traces)
		}
	}
	if !known && c.Default != nil {
		count(c.Default, nil)
	}
	if largest == nil {
		return added
	}
	return append([]Part{*largest}, added...)
}

// A trace has, by grant and limit, the parts of the numbers while a decision is made. A nil trace
// keeps none.
type trace map[traceKey][]Part

type traceKey struct {
	source, name string
	add          bool
}

func (t trace) limit(source, name string, l snapshot.Limit, from Part) {
	if t != nil {
		from.Source, from.Limit = source, l
		t[traceKey{source, name, false}] = []Part{from}
	}
}

func (t trace) add(source, name string, l snapshot.Limit, from Part) {
	if t != nil {
		from.Source, from.Limit = source, l
		key := traceKey{source, name, true}
		t[key] = append(t[key], from)
	}
}

// tracesOf makes the decision about a snapshot again. It returns the parts of those grants that come
// out as the snapshot has them.
func tracesOf(s *snapshot.Snapshot, document func(uint64) (*Document, bool)) trace {
	d, ok := document(s.PlansRevision)
	if !ok {
		return nil
	}
	doc := d.forAccount(s.Account)
	if doc.lacks(s) {
		return nil
	}
	facts := Facts(*s)
	c := decision{doc: doc, s: &facts, bad: problems{}, trace: trace{}}
	c.decide()
	again := map[string]*snapshot.Grant{}
	for i := range facts.Grants {
		again[facts.Grants[i].Source] = &facts.Grants[i]
	}
	for i := range s.Grants {
		g := &s.Grants[i]
		if same := again[g.Source]; same != nil && Alike(*same, *g) {
			delete(again, g.Source)
			continue
		}
		c.trace.drop(g.Source)
	}
	return c.trace
}

// drop removes the parts of a grant.
func (t trace) drop(source string) {
	for key := range t {
		if key.source == source {
			delete(t, key)
		}
	}
}
