package budget

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"entitled/internal/stripeapi"
)

// Shares of the rate, wherever in the fleet the waiters of each kind are: webhooks have half and
// requests have half, bulk work has what webhooks leave of their half, and what is not used is
// lent.
func TestBudgetShares(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// waiters of each kind, all the time, of each replica
		waiters [][len(kinds)]int
		want    []float64 // by Kind
	}{
		{"webhooks alone", [][len(kinds)]int{{8, 0, 0}, {8, 0, 0}}, []float64{1, 0, 0}},
		{"requests alone", [][len(kinds)]int{{0, 8, 0}, {0, 8, 0}}, []float64{0, 1, 0}},
		{"bulk work alone", [][len(kinds)]int{{0, 0, 8}, {0, 0, 8}}, []float64{0, 0, 1}},
		{"webhooks and requests", [][len(kinds)]int{{8, 64, 0}, {8, 64, 0}}, []float64{.5, .5, 0}},
		{"webhooks of one replica, requests of three",
			[][len(kinds)]int{{8, 0, 0}, {0, 64, 0}, {0, 64, 0}, {0, 64, 0}}, []float64{.5, .5, 0}},
		{"requests of one replica, webhooks of three",
			[][len(kinds)]int{{64, 0, 0}, {64, 0, 0}, {64, 0, 0}, {0, 2, 0}}, []float64{.5, .5, 0}},
		{"requests and bulk work", [][len(kinds)]int{{0, 64, 8}, {0, 64, 8}}, []float64{0, .5, .5}},
		{"all", [][len(kinds)]int{{8, 64, 8}, {8, 64, 8}}, []float64{.5, .5, 0}},
	} {
		for _, rate := range []float64{1, 10, 20, 100} {
			t.Run(fmt.Sprintf("%s, %v per second", c.name, rate), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					const d = 2 * time.Minute
					f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate,
						make([]time.Duration, len(c.waiters))...)
					for i, n := range c.waiters {
						for _, k := range kinds {
							f.saturateOne(f.budgets[i], n[k], k)
						}
					}
					pass(d)
					synctest.Wait()
					f.close()
					f.checkBudget(rate)
					near := 0.1
					if rate == 1 {
						near = 0.2 // its bucket holds one permit, and overflows while a waiter sleeps a little too long
					}
					f.checkUsed(0, d, rate, 1-near)
					for _, k := range kinds {
						got, want := float64(len(f.grants[k]))/d.Seconds()/rate, c.want[k]
						if got < want-near || got > want+near {
							t.Errorf("kind %s had %.2f of the rate, want %.2f", k, got, want)
						}
					}
				})
			})
		}
	}
}

// A waiter of one kind, now and then, does not wait behind many of another kind.
func TestBudgetOneKindDoesNotWaitForAnother(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ few, many stripeapi.Kind }{
		{stripeapi.Webhooks, stripeapi.Requests},
		{stripeapi.Requests, stripeapi.Webhooks},
		{stripeapi.Webhooks, stripeapi.Bulk},
		{stripeapi.Requests, stripeapi.Bulk},
	} {
		for _, rate := range []float64{10, 20, 100} {
			t.Run(fmt.Sprintf("%s behind %s, %v per second", c.few, c.many, rate), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate, 0, 0, 0)
					f.saturate(64, c.many)
					pass(10 * time.Second)
					for range 20 {
						pass(613 * time.Millisecond)
						before := time.Now()
						if err := f.budgets[1].Take(t.Context(), c.few); err != nil {
							t.Fatal(err)
						}
						f.granted(c.few)
						if d := time.Since(before); d > 20*time.Millisecond {
							t.Errorf("waited %v", d)
						}
					}
					f.close()
					f.checkBudget(rate)
				})
			})
		}
	}
}
