package stripeapi

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"

	"entitled/stripesim"
)

// A fetch returns the simulator's own state: of customers with many subscriptions, many items,
// none, none any more, on the platform and on a connected account; also page by page.
func TestFetchIsTheTruth(t *testing.T) {
	t.Parallel()
	sim := stripesim.New(stripesim.Config{Seed: 7, InlineItems: 3})
	t.Cleanup(sim.Close)
	accounts := map[string]*stripesim.Account{"": sim.InMode(false), "acct_1Connected": sim.Connect("acct_1Connected")}
	for _, a := range accounts {
		must(t, a.DemoCatalog())
		for i := range 8 {
			id, err := a.CreateCustomer(stripesim.CustomerParams{Metadata: map[string]string{"n": fmt.Sprint(i)}})
			must(t, err)
			for range []int{0, 1, 2, 3, 120, 1, 0, 2}[i] {
				_, err := a.CreateSubscription(stripesim.SubscriptionParams{Customer: id,
					Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}}})
				must(t, err)
			}
			if i >= 6 {
				must(t, a.DeleteCustomer(id))
			}
		}
		c, err := a.Checkout(stripesim.CheckoutParams{Price: "price_pro_monthly"})
		must(t, err)
		for i := range 5 {
			price, err := a.CreatePrice(stripesim.PriceParams{ID: fmt.Sprint("price_extra_", i),
				Product: "prod_pro", UnitAmount: 100})
			must(t, err)
			_, err = a.AddItem(c.Subscription, stripesim.ItemParams{Price: price})
			must(t, err)
		}
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	c, err := New(Config{Key: "sk_test_sim", Base: srv.URL})
	must(t, err)
	t.Cleanup(c.Close)
	total := 0
	for _, info := range sim.Customers() {
		if info.Live {
			continue
		}
		truth, _ := accounts[info.Account].Truth(info.ID)
		got, _, err := c.Entitlements(true).Fetch(t.Context(), info.Account, info.ID, (&permits{}).take)
		if err != nil {
			t.Errorf("%s: %v", info.ID, err)
			continue
		}
		if got.Deleted != info.Deleted {
			t.Errorf("%s: deleted %v", info.ID, got.Deleted)
		}
		if info.Deleted {
			continue
		}
		var list stripe.SubscriptionList
		must(t, json.Unmarshal(truth.SubscriptionsJSON, &list))
		if d := cmp.Diff(list.Data, got.Subscriptions); d != "" && len(list.Data) > 0 {
			t.Errorf("%s (-truth +got):\n%s", info.ID, d)
		}
		slices.Sort(truth.Entitlements)
		if d := cmp.Diff(truth.Entitlements, got.Features); d != "" {
			t.Errorf("%s features (-truth +got):\n%s", info.ID, d)
		}
		if d := cmp.Diff(truth.Customer.Metadata, got.Metadata); d != "" &&
			len(got.Metadata)+len(truth.Customer.Metadata) > 0 {
			t.Errorf("%s metadata (-truth +got):\n%s", info.ID, d)
		}
		total += len(list.Data)
	}
	if total < 250 {
		t.Errorf("%d subscriptions compared", total)
	}
	for account := range accounts {
		listed := 0
		for q := (PageQuery{}); ; {
			pg, _, err := c.ListSubscriptions(t.Context(), account, q, (&permits{}).take)
			must(t, err)
			listed += len(pg.Subscriptions)
			if q.StartingAfter = pg.Next; pg.Next == "" {
				break
			}
		}
		if listed < 125 {
			t.Errorf("%q lists %d subscriptions", account, listed)
		}
		seen := map[string]bool{}
		for q := (EventQuery{}); ; {
			pg, _, err := c.ListEvents(t.Context(), account, q)
			must(t, err)
			for _, raw := range pg.Events {
				seen[string(raw)] = true
			}
			if q.StartingAfter = pg.Next; pg.Next == "" {
				break
			}
		}
		if want := len(accounts[account].Events()); len(seen) != want {
			t.Errorf("%q lists %d events of %d", account, len(seen), want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
