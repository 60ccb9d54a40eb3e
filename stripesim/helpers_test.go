package stripesim_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
	"github.com/stripe/stripe-go/v76/webhook"
)

var start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// bench is a simulator behind HTTP with a small catalog, and a real client to it.
type bench struct {
	*stripesim.Sim
	t   testing.TB
	url string
	api *client.API
}

func setup(t testing.TB, cfg stripesim.Config) *bench {
	t.Helper()
	if cfg.Start.IsZero() {
		cfg.Start = start
	}
	b := &bench{Sim: stripesim.New(cfg), t: t}
	srv := httptest.NewServer(b.Sim)
	t.Cleanup(srv.Close)
	t.Cleanup(b.Sim.Close)
	b.url = srv.URL
	b.api = b.client("sk_test_abc")
	b.catalog(b.Account)
	return b
}

func (b *bench) client(key string) *client.API {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	b.t.Cleanup(transport.CloseIdleConnections)
	return client.New(key, &stripe.Backends{API: stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(b.url), HTTPClient: &http.Client{Transport: transport},
		MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})})
}

// catalog creates the prices pro, team, free and yearly on products of the same names.
func (b *bench) catalog(a *stripesim.Account) {
	b.t.Helper()
	for _, p := range []struct {
		name     string
		amount   int64
		interval string
		features []string
	}{
		{"pro", 2000, "month", []string{"api_access", "export"}},
		{"team", 5000, "month", []string{"api_access", "export", "sso"}},
		{"free", 0, "month", nil},
		{"yearly", 20000, "year", []string{"api_access"}},
	} {
		must(a.CreateProduct(stripesim.ProductParams{ID: "prod_" + p.name, Name: p.name, Features: p.features}))
		must(a.CreatePrice(stripesim.PriceParams{
			ID: "price_" + p.name, Product: "prod_" + p.name, LookupKey: p.name,
			UnitAmount: p.amount, Interval: p.interval,
		}))
	}
}

// customer creates a customer with the id.
func (b *bench) customer(id string) string {
	b.t.Helper()
	return must(b.CreateCustomer(stripesim.CustomerParams{ID: id}))
}

// subscribe creates a subscription to one price.
func (b *bench) subscribe(customer, price string) string {
	b.t.Helper()
	return must(b.CreateSubscription(stripesim.SubscriptionParams{
		Customer: customer, Items: []stripesim.ItemParams{{Price: price}},
	}))
}

func (b *bench) status(sub, want string) {
	b.t.Helper()
	if s, _ := b.Subscription(sub); s.Status != want {
		b.t.Fatalf("status is %q, want %q", s.Status, want)
	}
}

// list reads all of a customer's subscriptions through the client.
func (b *bench) list(p *stripe.SubscriptionListParams) ([]*stripe.Subscription, error) {
	var out []*stripe.Subscription
	it := b.api.Subscriptions.List(p)
	for it.Next() {
		out = append(out, it.Subscription())
	}
	return out, it.Err()
}

func (b *bench) kinds() []string {
	var out []string
	for _, e := range b.Events() {
		out = append(out, e.Type)
	}
	return out
}

// get sends a request without stripe-go and returns the status, the body and the header.
func (b *bench) get(path string, header ...string) (int, string, http.Header) {
	b.t.Helper()
	req := must(http.NewRequest(http.MethodGet, b.url+path, nil))
	req.Header.Set("Authorization", "Bearer sk_test_abc")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp := must(http.DefaultClient.Do(req))
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))
	return resp.StatusCode, string(body), resp.Header
}

// must returns the value and panics on an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func stripeError(t testing.TB, err error) *stripe.Error {
	t.Helper()
	var se *stripe.Error
	if !errors.As(err, &se) {
		t.Fatalf("got %v, want an error of Stripe's", err)
	}
	return se
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// receiver is a webhook endpoint that keeps the webhooks that it accepts.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	status func(n int) int // n is the number of earlier requests
	n      int
}

func receive(t testing.TB, secret string) *receiver {
	r := &receiver{status: func(int) int { return http.StatusOK }}
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = webhook.ValidatePayload(body, req.Header.Get("Stripe-Signature"), secret)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		status := r.status(r.n)
		r.n++
		if status == http.StatusOK {
			r.bodies = append(r.bodies, body)
		}
		rw.WriteHeader(status)
	}))
	t.Cleanup(r.Server.Close)
	return r
}
