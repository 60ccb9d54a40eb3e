package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

// soon bounds a wait for what takes far less than a second on an idle machine.
const soon = time.Minute

// A rig is a whole pipeline on a simulated Stripe, with a console.
type rig struct {
	*natstest.Server
	t       testing.TB
	sim     *stripesim.Sim
	console *Console
	url     string // the console's
	product string
	price   string
	hook    string // the webhook endpoint
}

// pipeline starts ingest, a syncer and a simulated Stripe whose webhooks come to it, under a plans
// document in which customers have ids.
func pipeline(t testing.TB) *rig {
	t.Helper()
	r := &rig{Server: natstest.Run(t), t: t, sim: stripesim.New(stripesim.Config{Seed: 1})}
	t.Cleanup(r.sim.Close)
	api := httptest.NewServer(r.sim)
	t.Cleanup(api.Close)
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hook := r.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: "http://" + public.Addr().String() + ingest.Path})
	r.hook = hook.ID
	c := daemon.Checker{Program: "test"}
	in := ingestd.Settings{MaxBody: "1 MiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "5s"}.Check(&c)
	sy := syncerd.Settings{Base: api.URL, Rate: "1000", CoverageEvery: "5m"}.Check(&c, "sk_test_console")
	shared := wiring.SharedSettings{TopologySettings: wiring.TopologySettings{EventsMaxAge: "90d"}}.Check(&c)
	in.Secrets, in.Shared, sy.Shared, sy.Timing = hook.Secrets, shared, shared, natstest.Timing
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	ready := daemon.NewReadiness(slog.New(slog.DiscardHandler), "ingest "+wiring.ReadyTopology,
		"syncer "+wiring.ReadyTopology)
	host := func(name string) wiring.Host {
		return wiring.Host{NATS: r.Conn(t), Metrics: prometheus.NewRegistry(), Ready: ready.Set,
			Log: slog.New(slog.DiscardHandler)}.Named(name)
	}
	r.run(func(ctx context.Context) error { return in.Run(ctx, host("ingest"), public) },
		func(ctx context.Context) error { return sy.Run(ctx, host("syncer")) })
	waiting, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := ready.Wait(waiting); err != nil {
		t.Fatal(err)
	}
	r.catalog()
	r.open(shared)
	return r
}

// run runs parts until the test ends.
func (r *rig) run(parts ...func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(func() { stop(); running.Wait() })
}

const document = `
metadata: [price, customer]
ids: {metadata: user_id}
connect: true
plans:
  pro:
    match: {product: prod_pro}
    features: [export, sso]
    limits: {projects: 50, seats: {per_unit: 1}}
`

// catalog makes a price at Stripe, and puts the plans in force.
func (r *rig) catalog() {
	r.t.Helper()
	var err error
	r.product, err = r.sim.CreateProduct(stripesim.ProductParams{ID: "prod_pro", Name: "Pro"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.price, err = r.sim.CreatePrice(stripesim.PriceParams{Product: r.product, LookupKey: "pro_monthly"})
	d, _, perr := plans.Parse([]byte(document))
	b, berr := applied.Open(r.t.Context(), r.JetStream(r.t), entitlement.Test)
	if err := errors.Join(err, perr, berr); err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := b.Put(r.t.Context(), d, "tests", "", time.Now()); err != nil {
		r.t.Fatal(err)
	}
}

// open starts a console.
func (r *rig) open(shared wiring.Shared) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.url = "http://" + ln.Addr().String()
	r.console, err = New(Config{
		NATS: r.Conn(r.t, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)), Mode: entitlement.Test,
		Marks: shared.Marks, CoverageEvery: 5 * time.Minute, Self: "entitled", Version: "v1.0.0",
		Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.run(func(ctx context.Context) error { return r.console.Run(ctx, ln) })
}

// subscribed makes a customer with an id and a subscription, and waits for its snapshot.
func (r *rig) subscribed(key, id string) (subscription string) {
	r.t.Helper()
	metadata := map[string]string{}
	if id != "" {
		metadata["user_id"] = id
	}
	_, err := r.sim.CreateCustomer(stripesim.CustomerParams{ID: key, Metadata: metadata})
	if err == nil {
		subscription, err = r.sim.CreateSubscription(stripesim.SubscriptionParams{Customer: key,
			Items: []stripesim.ItemParams{{Price: r.price, Quantity: 3}}})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.until(key, func(s entitlement.Snapshot) bool { return s.Access && s.ID == id })
	return subscription
}

// until waits for a snapshot.
func (r *rig) until(key string, is func(entitlement.Snapshot) bool) {
	r.t.Helper()
	kv, err := r.JetStream(r.t).KeyValue(r.t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		r.t.Fatal(err)
	}
	natstest.Eventually(r.t, soon, func() error {
		e, err := kv.Get(r.t.Context(), key)
		if err != nil {
			return err
		}
		s, err := entitlement.Decode(e.Value())
		if err == nil && !is(s) {
			err = fmt.Errorf("the snapshot is still %s", e.Value())
		}
		return err
	})
}

// park writes the entry of a parked customer, as a syncer does.
func (r *rig) park(c stripeevent.Customer, reason string) {
	r.t.Helper()
	at := time.Date(2026, 11, 22, 14, 2, 11, 0, time.UTC)
	entry, err := json.Marshal(record.Failure{Failures: 10, Attempts: 23, FirstAt: at.Add(-40 * time.Minute), LastAt: at,
		Error: reason, ParkedAt: &at, Cause: entitlement.Cause{Trigger: "webhook", Event: "evt_2", Type: "invoice.paid"}})
	kv, kerr := r.JetStream(r.t).KeyValue(r.t.Context(), topology.StateBucket)
	if err := errors.Join(err, kerr); err != nil {
		r.t.Fatal(err)
	}
	if _, err := kv.Put(r.t.Context(), stripeevent.ParkedKey(c), entry); err != nil {
		r.t.Fatal(err)
	}
}

// get returns the status and the page at a path.
func (r *rig) get(path string) (int, string) {
	r.t.Helper()
	res, err := http.Get(r.url + path)
	return r.answer(res, err)
}

// post does what a button does, and follows to the page that shows the result.
func (r *rig) post(path string, form url.Values) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := http.DefaultClient.Do(req)
	return r.answer(res, err)
}

func (r *rig) answer(res *http.Response, err error) (int, string) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to the end
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// shows fails the test unless the page at a path has the status and the texts.
func (r *rig) shows(path string, status int, texts ...string) string {
	r.t.Helper()
	code, body := r.get(path)
	if code != status {
		r.t.Errorf("GET %s: status %d, want %d:\n%s", path, code, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			r.t.Errorf("GET %s does not show %q:\n%s", path, text, body)
		}
	}
	return body
}

// comes waits until the page at a path shows all of the texts.
func (r *rig) comes(path string, texts ...string) string {
	r.t.Helper()
	var body string
	natstest.Eventually(r.t, soon, func() error {
		_, body = r.get(path)
		for _, text := range texts {
			if !strings.Contains(body, text) {
				return fmt.Errorf("GET %s does not show %q:\n%s", path, text, body)
			}
		}
		return nil
	})
	return body
}
