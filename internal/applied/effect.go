package applied

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
)

// The kinds of an [Effect].
const (
	EffectAccess  = "access"
	EffectFeature = "feature"
	EffectLimit   = "limit"
)

// The changes of an [Effect].
const (
	Lost    = "lost"
	Lowered = "lowered"
	Raised  = "raised"
	Gained  = "gained"
)

// An Effect is one difference that a decision makes for a customer.
type Effect struct {
	// Change is Lost, Lowered, Raised or Gained.
	Change string `json:"change"`
	// Kind is one of the Effect constants, Name the feature or limit, "" for access.
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
}

// A Difference is an effect for one customer, with the limit before and after it.
type Difference struct {
	Effect
	Before, After entitlement.Limit
}

// Differences returns what a customer has under one decision and not under the other, at an
// instant. Effects on access come first, then features, then limits, each by name.
func Differences(before, after *entitlement.Snapshot, now time.Time) []Difference {
	if before.Grants != nil && slices.EqualFunc(before.Grants, after.Grants, plans.Alike) {
		return nil
	}
	var all []Difference
	add := func(kind, name string, had, has bool) {
		switch {
		case had && !has:
			all = append(all, Difference{Effect: Effect{Lost, kind, name}})
		case has && !had:
			all = append(all, Difference{Effect: Effect{Gained, kind, name}})
		}
	}
	add(EffectAccess, "", before.Allowed(now), after.Allowed(now))
	features, limits := map[string]bool{}, map[string]bool{}
	for _, s := range []*entitlement.Snapshot{before, after} {
		for i := range s.Grants {
			g := &s.Grants[i]
			for _, f := range g.Features {
				features[f] = true
			}
			for name := range g.Limits {
				limits[name] = true
			}
			for name := range g.Adds {
				limits[name] = true
			}
		}
		for _, f := range s.Features {
			features[f] = true // of a decision without grants
		}
	}
	for _, f := range slices.Sorted(maps.Keys(features)) {
		add(EffectFeature, f, before.Has(f, now), after.Has(f, now))
	}
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		had, known := before.Limit(name, now)
		has, knows := after.Limit(name, now)
		d := Difference{Effect{"", EffectLimit, name}, had, has}
		switch {
		case known && !knows:
			d.Change = Lost
		case knows && !known:
			d.Change = Gained
		case has < had:
			d.Change = Lowered
		case has > had:
			d.Change = Raised
		default:
			continue
		}
		all = append(all, d)
	}
	return all
}

// examplesAtMost is how many customers are named for each effect.
const examplesAtMost = 3

// unmatchedAtMost is how many prices are remembered.
const unmatchedAtMost = 1000

// An Example is a customer with an effect; a limit has its values, absent for none.
type Example struct {
	Customer string             `json:"customer"`
	Before   *entitlement.Limit `json:"before,omitempty"`
	After    *entitlement.Limit `json:"after,omitempty"`
}

// A Count is an effect, and the number of customers that have it.
type Count struct {
	Effect
	Customers int       `json:"customers"`
	Examples  []Example `json:"examples"`
}

// An UnmatchedPrice is a price of live subscriptions that no plan matches and that names none.
type UnmatchedPrice struct {
	Price     string `json:"price"`
	Product   string `json:"product,omitempty"`
	LookupKey string `json:"lookup_key,omitempty"`
	// Items is the number of subscriptions' items with the price, Example a customer of one.
	Items   int    `json:"items"`
	Example string `json:"example"`
}

// A Tally sums up what a document changes for the customers that it is shown. Its memory is bounded
// by the names in the documents and [unmatchedAtMost], not by the customers.
type Tally struct {
	Customers, Changed int
	// Unread is the number of customers whose facts must be read from Stripe for the document.
	Unread int
	counts map[Effect]*Count
	prices map[string]*UnmatchedPrice
	// MorePrices reports that there are prices beyond those that are remembered.
	MorePrices bool
}

// Add decides a customer under a document and counts the differences from its decision before.
func (t *Tally) Add(before entitlement.Snapshot, d *plans.Document, now time.Time) {
	t.Customers++
	key := entitlement.Key(before.Account, before.Customer)
	after := before
	if !plans.Decide(&after, d) ||
		d.Entitlements(after.Account) == plans.ReadAlways && after.Entitlements == nil && !after.Deleted {
		t.Unread++
		return
	}
	t.unmatched(key, &after, d)
	differences := Differences(&before, &after, now)
	if len(differences) == 0 {
		return
	}
	t.Changed++
	if t.counts == nil {
		t.counts = map[Effect]*Count{}
	}
	for _, x := range differences {
		c := t.counts[x.Effect]
		if c == nil {
			c = &Count{Effect: x.Effect}
			t.counts[x.Effect] = c
		}
		if c.Customers++; len(c.Examples) < examplesAtMost {
			example := Example{Customer: key}
			if x.Kind == EffectLimit && x.Change != Gained {
				example.Before = &x.Before
			}
			if x.Kind == EffectLimit && x.Change != Lost {
				example.After = &x.After
			}
			c.Examples = append(c.Examples, example)
		}
	}
}

func (t *Tally) unmatched(key string, s *entitlement.Snapshot, d *plans.Document) {
	for it := range d.WithoutPlan(s) {
		p := t.prices[it.Price]
		if p == nil {
			if len(t.prices) == unmatchedAtMost {
				t.MorePrices = true
				continue
			}
			if t.prices == nil {
				t.prices = map[string]*UnmatchedPrice{}
			}
			p = &UnmatchedPrice{Price: it.Price, Product: it.Product, LookupKey: it.LookupKey, Example: key}
			t.prices[it.Price] = p
		}
		p.Items++
	}
}

// Effects returns the effects, the losses first, and how many customers have each.
func (t *Tally) Effects() []Count {
	changes := []string{Lost, Lowered, Raised, Gained}
	kinds := []string{EffectAccess, EffectFeature, EffectLimit}
	counts := []Count{}
	for _, c := range t.counts {
		counts = append(counts, *c)
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(slices.Index(changes, a.Change), slices.Index(changes, b.Change)),
			cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Name, b.Name))
	})
	return counts
}

// Unmatched returns the prices in use that no plan matches, the most used first.
func (t *Tally) Unmatched() []UnmatchedPrice {
	all := []UnmatchedPrice{}
	for _, p := range t.prices {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b UnmatchedPrice) int {
		return cmp.Or(cmp.Compare(b.Items, a.Items), cmp.Compare(a.Price, b.Price))
	})
	return all
}
