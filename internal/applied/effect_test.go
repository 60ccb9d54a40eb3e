package applied

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/plans"
)

var asOf = time.Unix(1800000000, 0).UTC()

func granted(g ...entitlement.Grant) *entitlement.Snapshot {
	return &entitlement.Snapshot{Schema: entitlement.Schema, Customer: "cus_1", Grants: g}
}

// Differences are those of the readers' answers at one instant, whatever the grants behind them.
func TestDifferences(t *testing.T) {
	t.Parallel()
	ended, ahead := asOf.Unix()-1, asOf.Unix()+1
	type limits = map[string]entitlement.Limit
	for name, c := range map[string]struct {
		before, after *entitlement.Snapshot
		want          []Difference
	}{
		"nothing": {
			granted(entitlement.Grant{Source: "sub_1", Features: []string{"a", "b"}}),
			granted(entitlement.Grant{Source: "sub_1", Features: []string{"a"}},
				entitlement.Grant{Source: "customer", Features: []string{"b"}, Until: &ahead}), nil,
		},
		"access and a feature that ended": {
			granted(entitlement.Grant{Source: "sub_1", Features: []string{"a"}}),
			granted(entitlement.Grant{Source: "sub_1", Features: []string{"a"}, Until: &ended}),
			[]Difference{{Effect: Effect{Lost, EffectAccess, ""}}, {Effect: Effect{Lost, EffectFeature, "a"}}},
		},
		"limits": {
			granted(entitlement.Grant{Source: "sub_1", Limits: limits{"a": 5, "b": 5, "c": 5, "e": 0}}),
			granted(entitlement.Grant{
				Source: "sub_1", Limits: limits{"a": 4, "b": entitlement.Unlimited, "d": 0, "e": 0},
				Adds: limits{"e": 2},
			}),
			[]Difference{
				{Effect{Lowered, EffectLimit, "a"}, 5, 4}, {Effect{Raised, EffectLimit, "b"}, 5, entitlement.Unlimited},
				{Effect{Lost, EffectLimit, "c"}, 5, 0}, {Effect{Gained, EffectLimit, "d"}, 0, 0},
				{Effect{Raised, EffectLimit, "e"}, 0, 2},
			},
		},
	} {
		if d := cmp.Diff(c.want, Differences(c.before, c.after, asOf)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// The memory of a tally does not grow with the customers, and prices without a plan are counted.
func TestTally(t *testing.T) {
	t.Parallel()
	d, _, err := plans.Parse([]byte("stripe_entitlements: false\nplans: {pro: {match: {product: prod_pro}, features: [a]}}"))
	if err != nil {
		t.Fatal(err)
	}
	var tally Tally
	for i := range unmatchedAtMost + 10 {
		s := entitlement.Snapshot{
			Schema: entitlement.Schema, Customer: fmt.Sprintf("cus_%d", i), AsOf: asOf,
			Subscriptions: []entitlement.Subscription{
				{ID: "sub_1", Status: "active", Items: []entitlement.Item{{Price: fmt.Sprintf("price_%d", i), Product: "prod_x"}}},
				{ID: "sub_2", Status: "active", Items: []entitlement.Item{
					{Price: "price_pro", Product: "prod_pro"},
					{Price: "price_named", Product: "prod_y", Metadata: map[string]string{"entitled_plan": "pro"}},
				}},
				{ID: "sub_3", Status: "canceled", Items: []entitlement.Item{{Price: "price_old", Product: "prod_old"}}},
			},
		}
		plans.Decide(&s, nil)
		tally.Add(s, d, asOf)
	}
	counts := tally.Effects()
	if len(counts) != 1 || counts[0].Effect != (Effect{Gained, EffectFeature, "a"}) ||
		counts[0].Customers != tally.Customers || len(counts[0].Examples) != examplesAtMost {
		t.Errorf("%v", counts)
	}
	prices := tally.Unmatched()
	unwanted := func(p UnmatchedPrice) bool { return p.Product != "prod_x" || p.Items != 1 }
	if len(prices) != unmatchedAtMost || !tally.MorePrices || slices.ContainsFunc(prices, unwanted) {
		t.Errorf("%d prices, more: %v", len(prices), tally.MorePrices)
	}
	// A document that needs what the facts lack decides nobody.
	s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: "cus_1", AsOf: asOf}
	plans.Decide(&s, nil)
	on, _, err := plans.Parse([]byte("stripe_entitlements: true"))
	if err != nil {
		t.Fatal(err)
	}
	var unread Tally
	unread.Add(s, on, asOf)
	if unread.Unread != 1 || unread.Changed != 0 {
		t.Errorf("%+v", unread)
	}
}

// BenchmarkTally is the diff of one customer with two subscriptions.
func BenchmarkTally(b *testing.B) {
	d, _, err := plans.Parse([]byte("plans: {pro: {match: {product: prod_pro}, features: [a], limits: {seats: {per_unit: 1}}}}"))
	if err != nil {
		b.Fatal(err)
	}
	three := int64(3)
	s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: "cus_1", AsOf: asOf}
	for i := range 2 {
		s.Subscriptions = append(s.Subscriptions, entitlement.Subscription{
			ID: fmt.Sprintf("sub_%d", i), Status: "active",
			Items: []entitlement.Item{{Price: "price_pro", Product: "prod_pro", Quantity: &three}},
		})
	}
	plans.Decide(&s, nil)
	value := s.Encode()
	var tally Tally
	for b.Loop() {
		read, err := entitlement.Decode(value)
		if err != nil {
			b.Fatal(err)
		}
		tally.Add(read, d, time.Unix(1800000000, 0))
	}
}
