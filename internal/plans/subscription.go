package plans

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"entitled/entitlement/snapshot"
)

// A count is how many of a plan or price a customer has.
type count struct {
	quantity int64
	metered  bool   // there is no quantity
	source   string // the price, for problems
}

// one is the count of a plan that a subscription or a customer names.
var one = count{quantity: 1}

func countOf(it *snapshot.Item) count {
	if it.Quantity == nil {
		return count{metered: true, source: it.Price}
	}
	return count{quantity: *it.Quantity, source: it.Price}
}

// bySubscription returns what a subscription grants, nil for nothing.
func (c *decision) bySubscription(sub *snapshot.Subscription) *snapshot.Grant {
	if hasEnded(sub) {
		return nil
	}
	sum := c.newSum(sub.ID)
	for i := range sub.Items {
		it := &sub.Items[i]
		n := countOf(it)
		w := c.doc.read(speaker{OnPrice, it.Price}, it.Metadata, c.bad)
		for _, name := range sortedSet(append(c.doc.matching(it), w.plans...)) {
			c.addPlan(&sum, name, n)
		}
		sum.features = append(sum.features, w.features...)
		for name, a := range w.limits {
			sum.limit(name, c.eval(a, n, wordLimit+name), Part{Object: it.Price, Amount: a, Quantity: n.quantity})
		}
		for name, a := range w.adds {
			sum.add(name, c.eval(a, n, wordAdd+name), Part{Object: it.Price, Amount: a, Quantity: n.quantity})
		}
	}
	w := c.doc.read(speaker{OnSubscription, sub.ID}, sub.Metadata, c.bad)
	for _, name := range w.plans {
		c.addPlan(&sum, name, one)
	}
	c.contract(&sum, w)

	rule := c.ruleFor(sub.Status, sum.plans)
	if rule == Deny {
		return nil
	}
	g := sum.grant()
	g.Until = unlessOpen(subscriptionEnd(sub, rule))
	return &g
}

// ruleFor is the most generous of the plans' rules for a status, the document's if there is no
// plan.
func (c *decision) ruleFor(status string, names []string) Rule {
	if !slices.Contains(statuses, status) {
		return Deny
	}
	if len(names) == 0 {
		if c.doc.Unmatched == DenyUnmatched {
			return Deny
		}
		return c.doc.rule(status)
	}
	most := Deny
	for _, name := range names {
		plan := c.doc.Plans[name]
		most = max(most, plan.rule(status, c.doc))
	}
	return most
}

// subscriptionEnd is when a subscription that grants ceases to, if nothing else happens: the
// earliest of its ends.
func subscriptionEnd(sub *snapshot.Subscription, rule Rule) int64 {
	end := int64(math.MaxInt64)
	if sub.CancelAtPeriodEnd {
		end = min(end, sub.CurrentPeriodEnd)
	}
	if sub.CancelAt != nil {
		end = min(end, *sub.CancelAt)
	}
	if rule != Grant {
		end = min(end, later(sub.CurrentPeriodStart, int64(rule)))
	}
	return end
}

// later is the instant that many seconds after another, at most the last that a number can say.
func later(unix, seconds int64) int64 {
	if unix > math.MaxInt64-1-seconds {
		return math.MaxInt64 - 1
	}
	return unix + seconds
}

// hasEnded reports whether the subscription is over for good.
func hasEnded(sub *snapshot.Subscription) bool {
	return sub.EndedAt != nil || sub.Status == "canceled" || sub.Status == "incomplete_expired"
}

// addPlan adds what a plan grants for a count.
func (c *decision) addPlan(sum *sum, name string, n count) {
	plan := c.doc.Plans[name]
	sum.plans = append(sum.plans, name)
	sum.features = append(sum.features, plan.Features...)
	for limit, a := range plan.Limits {
		sum.limit(limit, c.eval(a, n, "plans."+name+".limits."+limit), Part{Plan: name, Amount: a, Quantity: n.quantity})
	}
	for limit, a := range plan.Adds {
		sum.add(limit, c.eval(a, n, "plans."+name+".adds."+limit), Part{Plan: name, Amount: a, Quantity: n.quantity})
	}
}

// contract adds the words of a subscription or customer, whose limits replace those of plans and
// prices.
func (c *decision) contract(sum *sum, w words) {
	sum.features = append(sum.features, w.features...)
	for name, a := range w.limits {
		delete(sum.limits, name)
		sum.limit(name, a.of(1), Part{Object: sum.source, Amount: a, Quantity: 1})
	}
	for name, a := range w.adds {
		sum.add(name, a.of(1), Part{Object: sum.source, Amount: a, Quantity: 1})
	}
}

// eval is the amount for a count. A metered price has no quantity, which is a problem if the amount
// needs one.
func (c *decision) eval(a Amount, n count, word string) snapshot.Limit {
	if n.metered && a.PerUnit > 0 {
		c.bad.add(n.source, word, "", snapshot.ProblemNoQuantity)
	}
	return a.of(n.quantity)
}

// A sum is what a subscription or customer has together.
type sum struct {
	source   string
	plans    []string
	features []string
	limits   map[string]snapshot.Limit
	adds     map[string]snapshot.Limit
	trace    trace
}

func newSum(source string) sum {
	return sum{source: source, limits: map[string]snapshot.Limit{}, adds: map[string]snapshot.Limit{}}
}

func (c *decision) newSum(source string) sum {
	s := newSum(source)
	s.trace = c.trace
	return s
}

// limit keeps the largest. from says where it comes from.
func (s *sum) limit(name string, l snapshot.Limit, from Part) {
	former, known := s.limits[name]
	s.limits[name] = max(former, l)
	if !known || l > former {
		s.trace.limit(s.source, name, l, from)
	}
}

func (s *sum) add(name string, l snapshot.Limit, from Part) {
	s.adds[name] = min(s.adds[name]+l, snapshot.MaxLimit)
	s.trace.add(s.source, name, l, from)
}

func (s *sum) grant() snapshot.Grant {
	return snapshot.Grant{
		Source: s.source, Plans: sortedSet(s.plans), Features: sortedSet(s.features), Limits: s.limits, Adds: s.adds,
	}
}

func newGrant(source string) snapshot.Grant {
	s := newSum(source)
	return s.grant()
}

// compareGrants orders by source; equal ones, which Stripe's ids do not make, by content.
func compareGrants(a, b snapshot.Grant) int {
	if order := strings.Compare(a.Source, b.Source); order != 0 {
		return order
	}
	return bytes.Compare(encoded(a), encoded(b))
}

func encoded(g snapshot.Grant) []byte {
	b, _ := json.Marshal(g) // strings and numbers: nothing in it can fail
	return b
}
