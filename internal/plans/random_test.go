package plans

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"entitled/entitlement/snapshot"
)

var compiled struct {
	once   sync.Once
	schema *jsonschema.Schema
}

// schemaOfTests is the schema, compiled once for all inputs of a fuzz test.
func schemaOfTests(t *testing.T) *jsonschema.Schema {
	compiled.once.Do(func() { compiled.schema = compileSchema(t) })
	return compiled.schema
}

// pick returns one of the choices.
func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// some returns up to n names with a prefix.
func some(r *rand.Rand, prefix string, n int) []string {
	var list []string
	for i := range n {
		if chance(r, 40) {
			list = append(list, fmt.Sprint(prefix, i))
		}
	}
	return list
}

func randomAmount(r *rand.Rand, unlimited bool) Amount {
	a := Amount{Base: pick(r, 0, 1, 5, 50, int64(snapshot.MaxLimit))}
	if chance(r, 40) {
		a.PerUnit = pick(r, int64(1), 3, int64(snapshot.MaxLimit))
	}
	if unlimited && chance(r, 10) {
		return Amount{Unlimited: true}
	}
	return a
}

func randomAmounts(r *rand.Rand, unlimited bool) map[string]Amount {
	all := map[string]Amount{}
	for _, name := range some(r, "l", 3) {
		all[name] = randomAmount(r, unlimited)
	}
	return all
}

func randomRules(r *rand.Rand) map[string]Rule {
	rules := map[string]Rule{}
	for _, status := range statuses {
		if chance(r, 20) {
			rules[status] = pick(r, Grant, Deny)
		}
	}
	for _, status := range timed {
		if chance(r, 30) {
			rules[status] = Rule(pick(r, int64(1), hour, day, 30*day))
		}
	}
	return rules
}

func randomDocument(r *rand.Rand) *Document {
	d := &Document{Number: r.Uint64N(9), Connect: chance(r, 50), Access: randomRules(r)}
	if chance(r, 80) {
		d.Metadata = []string{}
		for _, on := range []string{OnCustomer, OnPrice, OnSubscription} {
			if chance(r, 60) {
				d.Metadata = append(d.Metadata, on)
			}
		}
	}
	if chance(r, 50) {
		d.StripeEntitlements = new(chance(r, 70))
	}
	if chance(r, 30) {
		d.IDs = &IDs{Metadata: "uid"}
	}
	if chance(r, 20) {
		d.Unmatched = DenyUnmatched
	}
	if chance(r, 20) {
		d.Features, d.Limits = []string{"f0", "f1"}, []string{"l0", "l1"}
	}
	if chance(r, 90) {
		d.Plans = map[string]Plan{}
		for _, name := range some(r, "p", 4) {
			p := Plan{
				Features: some(r, "f", 4), Limits: randomAmounts(r, true), Adds: randomAmounts(r, false),
				Access: randomRules(r),
			}
			if chance(r, 70) {
				p.Match = []Match{{Product: some(r, "prod_", 3)}, {LookupKey: []string{pick(r, "key_*", "*1", "none")}}}
			}
			d.Plans[name] = p
		}
	}
	if chance(r, 40) {
		limits := map[string]snapshot.Limit{"l0": snapshot.Limit(r.IntN(9))}
		d.Default = &Default{Features: some(r, "f", 4), Limits: limits}
	}
	return d
}

// randomWords are the words that an object may have, some of which cannot be read.
func randomWords(r *rand.Rand) map[string]string {
	words := map[string]string{"other": "x", "uid": pick(r, "u_1", "u_2")}
	for word, values := range map[string][]string{
		"entitled_plan":     {"p0", "p1, p2", "p9", "p0,p0"},
		"entitled_features": {"f0", "f1,f2", "b@d", "access", ",", "f3,b@d"},
		"entitled_limit_l0": {"0", "7", "2/unit", "unlimited", "x", "-1"},
		"entitled_limit_l9": {"3"},
		"entitled_add_l0":   {"5", "1/unit", "unlimited"},
		"entitled_until":    {"1800000100", "1799999900", "2027-01-15", "x"},
		"entitled_note":     {"by hand"},
		"entitled_strange":  {"1"},
	} {
		if chance(r, 35) {
			words[word] = pick(r, values...)
		}
	}
	return words
}

func randomSubscription(r *rand.Rand, id string) snapshot.Subscription {
	sub := snapshot.Subscription{
		ID: id, Metadata: randomWords(r), Items: []snapshot.Item{},
		Status: pick(r, "active", "active", "trialing", "past_due", "unpaid", "paused", "incomplete",
			"canceled", "invented"),
		CurrentPeriodStart: 1800000000 - pick(r, 0, hour, 3*day, int64(60*day)),
		CurrentPeriodEnd:   1800000000 + pick(r, -hour, hour, int64(30*day)),
		CancelAtPeriodEnd:  chance(r, 20),
	}
	if chance(r, 20) {
		sub.CancelAt = new(1800000000 + pick(r, -hour, int64(1), hour))
	}
	if chance(r, 5) {
		sub.EndedAt = new(int64(1800000000))
	}
	for i := range r.IntN(4) {
		it := snapshot.Item{
			ID: fmt.Sprint(id, "_", i), Product: fmt.Sprint("prod_", r.IntN(4)), Price: fmt.Sprint("price_", r.IntN(4)),
			LookupKey: pick(r, "", "key_1", "old"), Metadata: PriceWords(randomWords(r)),
		}
		if chance(r, 80) {
			it.Quantity = new(pick(r, int64(0), 1, 4, int64(snapshot.MaxLimit)))
		}
		sub.Items = append(sub.Items, it)
	}
	return sub
}

func randomFacts(r *rand.Rand) snapshot.Snapshot {
	s := snapshot.Snapshot{
		Schema: snapshot.Schema, Customer: "cus_1", Account: pick(r, "", "", "acct_1"), Status: "active",
		Deleted: chance(r, 5), Features: []string{}, Metadata: randomWords(r),
		Subscriptions: []snapshot.Subscription{}, AsOf: asOf,
	}
	if chance(r, 70) {
		s.Entitlements = append([]string{}, some(r, "f", 4)...)
	}
	for i := range r.IntN(4) {
		s.Subscriptions = append(s.Subscriptions, randomSubscription(r, fmt.Sprint("sub_", i)))
	}
	if chance(r, 5) {
		s.Omitted = []string{pick(r, snapshot.OmittedMetadata, snapshot.OmittedSubscriptionMetadata,
			snapshot.OmittedEnded, snapshot.OmittedSubscriptions)}
	}
	return s
}
