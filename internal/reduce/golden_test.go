package reduce

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/internal/plans"
	"entitled/internal/stripeapi"
	"entitled/stripesim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A story creates a customer in an account. It returns its id, and how long after the simulation's
// start to read it.
type story func(t *testing.T, s *golden) (customer string, readAfter time.Duration)

type golden struct {
	*stripesim.Account
	t   *testing.T
	sim *stripesim.Sim
}

const day = 24 * time.Hour

func (g *golden) buyer(id string) string {
	g.t.Helper()
	got, err := g.CreateCustomer(stripesim.CustomerParams{ID: id, Email: "someone@example.com", Name: "Someone",
		Metadata: map[string]string{"tenant": "t_42"}})
	g.must(err)
	return got
}

func (g *golden) subscribe(p stripesim.SubscriptionParams) string {
	g.t.Helper()
	if p.ID == "" {
		p.ID = "sub_1"
	}
	if p.Items == nil {
		p.Items = []stripesim.ItemParams{{Price: "price_pro"}}
	}
	id, err := g.CreateSubscription(p)
	g.must(err)
	return id
}

func (g *golden) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// failRenewal lets the first period end without payment.
func (g *golden) failRenewal(customer string) {
	g.must(g.FailPayments(customer))
	g.sim.Advance(31*day + 2*time.Hour)
}

var stories = map[string]story{
	"no_subscription": func(_ *testing.T, g *golden) (string, time.Duration) {
		return g.buyer("cus_none"), 0
	},
	"active": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_active")
		g.subscribe(stripesim.SubscriptionParams{Customer: c, Metadata: map[string]string{"seat": "owner"}})
		return c, 0
	},
	"several": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_several")
		g.must(g.Cancel(g.subscribe(stripesim.SubscriptionParams{ID: "sub_c", Customer: c})))
		g.subscribe(stripesim.SubscriptionParams{ID: "sub_a", Customer: c, TrialDays: 14})
		g.subscribe(stripesim.SubscriptionParams{ID: "sub_b", Customer: c, Items: []stripesim.ItemParams{
			{Price: "price_pro", Quantity: 3}, {Price: "price_team", Quantity: 12},
		}})
		return c, 0
	},
	"250_subscriptions": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_many")
		for n := range 250 {
			g.subscribe(stripesim.SubscriptionParams{ID: fmt.Sprintf("sub_%03d", n), Customer: c})
		}
		return c, 0
	},
	"20_items": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_items")
		var items []stripesim.ItemParams
		for n := range 20 {
			price, err := g.CreatePrice(stripesim.PriceParams{ID: fmt.Sprintf("price_%02d", n), Product: "prod_pro"})
			g.must(err)
			items = append(items, stripesim.ItemParams{Price: price, Quantity: int64(n + 1)})
		}
		g.subscribe(stripesim.SubscriptionParams{Customer: c, Items: items})
		return c, 0
	},
	"deleted": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_deleted")
		g.subscribe(stripesim.SubscriptionParams{Customer: c})
		g.must(g.DeleteCustomer(c))
		return c, 0
	},
	"never_existed": func(*testing.T, *golden) (string, time.Duration) {
		return "cus_nobody", 0
	},
	"connected_account": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_theirs")
		g.subscribe(stripesim.SubscriptionParams{Customer: c})
		return c, 0
	},
	"past_due_within_grace": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_late")
		g.subscribe(stripesim.SubscriptionParams{Customer: c})
		g.failRenewal(c)
		return c, 0
	},
	"past_due_after_grace": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_later")
		g.subscribe(stripesim.SubscriptionParams{Customer: c})
		g.failRenewal(c)
		return c, 3 * day
	},
	"trial": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_trial")
		g.subscribe(stripesim.SubscriptionParams{Customer: c, TrialDays: 14})
		return c, 0
	},
	"canceled_at_period_end": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_leaving")
		g.must(g.CancelAtPeriodEnd(g.subscribe(stripesim.SubscriptionParams{Customer: c})))
		return c, 0
	},
	"canceled": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_left")
		g.must(g.Cancel(g.subscribe(stripesim.SubscriptionParams{Customer: c})))
		return c, 0
	},
	"paused": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_paused")
		g.must(g.SetStatus(g.subscribe(stripesim.SubscriptionParams{Customer: c}), "paused"))
		return c, 0
	},
	"pause_collection": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_uncollected")
		g.must(g.PauseCollection(g.subscribe(stripesim.SubscriptionParams{Customer: c}), "void",
			g.sim.Now().Add(10*day)))
		return c, 0
	},
	"unknown_status": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_odd")
		g.must(g.SetStatus(g.subscribe(stripesim.SubscriptionParams{Customer: c}), "on_the_moon"))
		return c, 0
	},
	"incomplete": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_incomplete")
		g.subscribe(stripesim.SubscriptionParams{Customer: c, DefaultIncomplete: true})
		return c, 0
	},
	"own_payment_method": func(_ *testing.T, g *golden) (string, time.Duration) {
		c := g.buyer("cus_bank")
		pm, err := g.AttachPaymentMethod(c, stripesim.PaymentMethodParams{Type: "sepa_debit", Last4: "3000"}, false)
		g.must(err)
		g.subscribe(stripesim.SubscriptionParams{Customer: c, DefaultPaymentMethod: pm})
		card, err := g.AttachPaymentMethod(c,
			stripesim.PaymentMethodParams{Type: "card", Brand: "visa", Last4: "4242"}, false)
		g.must(err)
		g.subscribe(stripesim.SubscriptionParams{ID: "sub_2", Customer: c, DefaultPaymentMethod: card})
		return c, 0
	},
}

// Each customer's snapshot, to the byte, as the real reads and the reducer make it.
func TestSnapshotsGolden(t *testing.T) {
	t.Parallel()
	for name, play := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
			sim := stripesim.New(stripesim.Config{Seed: 1, Start: start})
			t.Cleanup(sim.Close)
			account, id := sim.Account, ""
			if name == "connected_account" {
				id = "acct_1Shop"
				account = sim.Connect(id)
			}
			g := &golden{Account: account, t: t, sim: sim}
			for _, p := range []stripesim.ProductParams{
				{ID: "prod_pro", Name: "Pro", Features: []string{"sso", "api_access"}},
				{ID: "prod_team", Name: "Team", Features: []string{"export", "api_access"}},
			} {
				_, err := g.CreateProduct(p)
				g.must(err)
			}
			for _, p := range []stripesim.PriceParams{
				{ID: "price_pro", Product: "prod_pro", LookupKey: "pro_monthly", UnitAmount: 2900},
				{ID: "price_team", Product: "prod_team", UnitAmount: 900},
			} {
				_, err := g.CreatePrice(p)
				g.must(err)
			}
			customer, readAfter := play(t, g)
			got := readBack(t, sim, id, customer, readAfter)

			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			file := filepath.Join("testdata", "snapshot", name+".json")
			if *update {
				if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; write it with go test -run %s -update", err, t.Name())
			}
			if d := cmp.Diff(string(want), pretty.String()); d != "" {
				t.Errorf("snapshot differs (-want +got):\n%s", d)
			}
			if bytes.Contains(got, []byte("omeone")) {
				t.Errorf("the customer's name or e-mail is in the snapshot: %s", got)
			}
		})
	}
}

func readBack(t *testing.T, sim *stripesim.Sim, account, customer string, after time.Duration) []byte {
	t.Helper()
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	client, err := stripeapi.New(stripeapi.Config{Key: "sk_test_golden", Base: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	state, _, err := client.Entitlements(true).Fetch(t.Context(), account, customer, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	asOf := sim.Now().Add(after)
	s := Reduce(state, asOf)
	if !plans.Decide(&s, nil) {
		t.Fatal("not decided")
	}
	s.ChangedAt = s.AsOf
	s.Cause.Trigger = "webhook"
	return s.Encode()
}
