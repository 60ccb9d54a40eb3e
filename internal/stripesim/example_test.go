package stripesim_test

import (
	"fmt"
	"net/http/httptest"
	"time"

	"entitled/internal/stripesim"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
)

func ExampleSim() {
	sim := stripesim.New(stripesim.Config{Seed: 1, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	defer sim.Close()
	srv := httptest.NewServer(sim)
	defer srv.Close()
	if err := sim.DemoCatalog(); err != nil {
		panic(err)
	}
	bought, err := sim.Checkout(stripesim.CheckoutParams{Email: "ada@example.com", Price: "price_pro_monthly"})
	if err != nil {
		panic(err)
	}
	if err := sim.FailPayments(bought.Customer); err != nil {
		panic(err)
	}
	sim.Advance(32 * 24 * time.Hour) // the renewal fails

	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{URL: stripe.String(srv.URL)})
	api := client.New("sk_test_123", &stripe.Backends{API: backend})
	list := api.Subscriptions.List(&stripe.SubscriptionListParams{Customer: stripe.String(bought.Customer)})
	for list.Next() {
		s := list.Subscription()
		fmt.Println(s.Status, s.Items.Data[0].Price.LookupKey)
	}
	truth, _ := sim.Truth(bought.Customer)
	fmt.Println(truth.Entitlements)
	// Output:
	// past_due pro_monthly
	// [export api_access]
}
