package stripesim_test

import (
	"testing"
	"time"

	"entitled/stripesim"
)

// Customers of two clocks live apart, whoever changes them.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	sim := stripesim.New(stripesim.Config{Seed: 1, Start: time.Unix(1_800_000_000, 0), InvoiceDelay: -1})
	defer sim.Close()
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	clock := sim.NewClock()
	buy := func(a *stripesim.Account, customer string) string {
		done, err := a.Checkout(stripesim.CheckoutParams{Customer: customer, Price: "price_pro_monthly"})
		if err != nil {
			t.Fatal(err)
		}
		return done.Subscription
	}
	end := func(sub string) time.Time {
		s, _ := sim.Subscription(sub)
		return time.Unix(s.CurrentPeriodEnd, 0)
	}
	ahead, here := buy(sim.On(clock), "cus_ahead"), buy(sim.Account, "cus_here")
	first := end(here)
	if !end(ahead).Equal(first) {
		t.Errorf("a new clock begins at %v, the simulator's is at %v", clock.Now(), sim.Now())
	}
	const weeks = 70 * 24 * time.Hour
	clock.Advance(weeks)
	if !end(here).Equal(first) || !end(ahead).After(sim.Now().Add(weeks)) {
		t.Errorf("periods end at %v and %v; want only the second renewed", end(here), end(ahead))
	}
	// The clock of the customer counts, not that of the account that acts.
	if err := sim.Cancel(ahead); err != nil {
		t.Fatal(err)
	}
	if s, _ := sim.Subscription(ahead); s.EndedAt != clock.Now().Unix() {
		t.Errorf("ended at %d, want the time of its clock, %d", s.EndedAt, clock.Now().Unix())
	}
	// Lists and events stay in one order.
	again := buy(sim.Account, "cus_last")
	for _, e := range sim.Events() {
		if !e.Created.Equal(sim.Now()) {
			t.Errorf("event %s is of %v, want the account's time %v", e.ID, e.Created, sim.Now())
		}
	}
	sim.Advance(weeks)
	if !end(here).After(first.Add(weeks/2)) || !end(again).After(first) {
		t.Errorf("periods end at %v and %v after the simulator's clock moved", end(here), end(again))
	}
}
