package stripesim_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
	"github.com/stripe/stripe-go/v76/webhook"
)

// A test reads the simulator with Stripe's own client library.
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

// The simulator signs webhooks as Stripe does. This handler gets one of them twice.
func ExampleSim_AddWebhookEndpoint() {
	sim := stripesim.New(stripesim.Config{Seed: 1})
	defer sim.Close()
	handler := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = webhook.ValidatePayload(body, r.Header.Get("Stripe-Signature"), "whsec_example")
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
		}
	}))
	defer handler.Close()
	sim.SetFaults(stripesim.Faults{WebhookDuplicate: 1})
	sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{
		URL: handler.URL, Secrets: []string{"whsec_example"}, EnabledTypes: []string{"customer.created"},
	})
	if _, err := sim.CreateCustomer(stripesim.CustomerParams{Email: "ada@example.com"}); err != nil {
		panic(err)
	}
	if err := sim.Quiet(context.Background()); err != nil {
		panic(err)
	}
	for _, a := range sim.Attempts() {
		fmt.Println(a.Type, a.Status)
	}
	// Output:
	// customer.created 200
	// customer.created 200
}
