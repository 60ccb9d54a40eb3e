package syncer

import (
	"slices"
	"testing"
	"time"

	"entitled/internal/plans"
	"entitled/internal/sweep"
	"entitled/stripesim"
)

// A document that turns Stripe's entitlements on over 1,000 customers ends, without another command,
// with every feature right and within the budget. One that turns them off takes what its comparison
// says, and nothing before it is applied.
func TestEntitlementsOnAndOff(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand customers; the tests of features have some")
	}
	t.Parallel()
	const customers, rate = 1000, 250
	r := newRig(t, func(c *Config) { c.Rate = rate })
	r.apply(1, "stripe_entitlements: false")
	ids := r.load(customers - 100)
	r.feature("api")
	ids = append(ids, r.load(100)...)
	if _, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.start()
	r.awaitDecided(1)
	r.awaitIdle()
	before := len(r.sim.Requests())

	r.apply(2, "stripe_entitlements: true")
	note := r.awaitDecided(2)
	if note.Lacking != customers {
		t.Errorf("noted %+v, want %d customers to be read", note, customers)
	}
	r.awaitIdle()
	r.onBudget(before, rate)
	lists := 0
	for _, req := range r.sim.Requests()[before:] {
		if req.Path == listsEntitlements {
			lists++
		}
	}
	if lists != customers {
		t.Errorf("%d requests for entitlements, want one a customer", lists)
	}
	r.right("", ids)

	off, _, err := plans.Parse([]byte("stripe_entitlements: false"))
	if err != nil {
		t.Fatal(err)
	}
	changed := 0 // as `entitled plans diff` compares
	var featured []string
	for _, id := range ids {
		s, _, _ := r.snapshot(ours(id))
		if slices.Equal(s.Features, []string{"api"}) {
			featured = append(featured, id)
		}
		next := s
		if plans.Decide(&next, off); !slices.Equal(next.Features, s.Features) {
			changed++
		}
	}
	if changed != len(featured) || changed < 50 {
		t.Errorf("the comparison takes from %d, want %d", changed, len(featured))
	}
	r.right("", ids) // nothing before the document is applied
	before = r.readings()
	r.apply(3, "stripe_entitlements: false")
	r.awaitDecided(3)
	for _, id := range ids {
		if s, _, _ := r.snapshot(ours(id)); len(s.Features) > 0 || s.PlansRevision != 3 {
			t.Fatalf("%s", s.Encode())
		}
	}
	if n := r.readings(); n != before {
		t.Errorf("%d customers read from Stripe", n-before)
	}
}

// onBudget checks that no second had more requests than the budget has in a second, with the burst of
// one second that it allows.
func (r *rig) onBudget(from int, rate int) {
	r.t.Helper()
	requests := r.sim.Requests()[from:]
	slices.SortFunc(requests, func(a, b stripesim.Request) int { return a.Time.Compare(b.Time) })
	first := 0
	for i, req := range requests {
		for req.Time.Sub(requests[first].Time) > time.Second {
			first++
		}
		if n := i - first + 1; n > 2*rate {
			r.t.Fatalf("%d requests within a second, the budget is %d", n, rate)
		}
	}
}
