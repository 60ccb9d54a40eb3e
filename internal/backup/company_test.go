package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/timing"
	"entitled/internal/topology"
	"entitled/stripesim"
)

const (
	ownCustomers       = 240
	connectedCustomers = 5
	connectedAccount   = "acct_1Connected0000000"
	secret             = "whsec_backup"
)

// A company is a simulated Stripe with the programs that follow it, on a NATS that can be replaced.
type company struct {
	t      *testing.T
	sim    *stripesim.Sim
	stripe stripeapi.Config
	marks  stripeevent.Types
	door   atomic.Pointer[http.Handler]
	timing timing.Timing // of the syncers
	// prices has the price that new customers buy, subs all subscriptions.
	prices  map[*stripesim.Account]string
	subs    map[*stripesim.Account][]string
	changes atomic.Int64
}

// servers are one server or a cluster.
type servers interface {
	Conn(testing.TB, ...nats.Option) *nats.Conn
	JetStream(testing.TB, ...nats.Option) jetstream.JetStream
}

func newCompany(t *testing.T) *company {
	t.Helper()
	c := &company{
		t: t, timing: natstest.Timing,
		prices: map[*stripesim.Account]string{}, subs: map[*stripesim.Account][]string{},
	}
	c.sim = stripesim.New(stripesim.Config{Seed: 1, RetryFactor: 1e6})
	t.Cleanup(c.sim.Close)
	api := httptest.NewServer(c.sim)
	t.Cleanup(api.Close)
	c.stripe = stripeapi.Config{Key: "sk_test_backup", Base: api.URL}
	var err error
	if c.marks, err = stripeevent.ParseTypes("customer.*"); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if door := c.door.Load(); door != nil {
			(*door).ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(web.Close)
	for _, connect := range []bool{false, true} {
		c.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{
			URL: web.URL + "/webhooks/stripe", Secrets: []string{secret}, Connect: connect,
		})
	}
	return c
}

// run starts an ingest and a syncer, until stop.
func (c *company) run(on servers, replicas int) (stop func()) {
	c.t.Helper()
	options := topology.Options{Replicas: replicas}
	const timeout = 5 * time.Second
	publisher, err := ingest.NewPublisher(on.Conn(c.t), timeout)
	if err != nil {
		c.t.Fatal(err)
	}
	in, err := ingest.New(ingest.Config{
		Publisher: publisher, Secrets: []string{secret}, Types: c.marks, PublishTimeout: timeout,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	handler := in.Handler()
	c.door.Store(&handler)
	s, err := syncer.New(syncer.Config{
		NATS: on.Conn(c.t), Stripe: c.stripe, Rate: 1000, Marks: c.marks, CoverageEvery: time.Hour,
		Topology: options, Timing: c.timing,
		Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // stop receives
	stop = sync.OnceFunc(func() {
		c.door.Store(nil)
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("syncer: %v", err)
		}
	})
	c.t.Cleanup(stop)
	return stop
}

func (c *company) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// found creates the catalog and the first customers of an account.
func (c *company) found(a *stripesim.Account, customers int) {
	c.t.Helper()
	product, err := a.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	c.must(err)
	c.prices[a], err = a.CreatePrice(stripesim.PriceParams{Product: product, LookupKey: "pro"})
	c.must(err)
	for range customers {
		c.join(a)
	}
}

// join creates a customer with a subscription.
func (c *company) join(a *stripesim.Account) {
	c.t.Helper()
	id, err := a.CreateCustomer(stripesim.CustomerParams{})
	c.must(err)
	sub, err := a.CreateSubscription(stripesim.SubscriptionParams{
		Customer: id, Items: []stripesim.ItemParams{{Price: c.prices[a]}},
	})
	c.must(err)
	c.subs[a] = append(c.subs[a], sub)
}

// change changes a subscription, with one event.
func (c *company) change(a *stripesim.Account, i int) {
	c.t.Helper()
	if err := a.UpdateSubscription(c.subs[a][i],
		map[string]string{"change": fmt.Sprint(c.changes.Add(1))}); err != nil {
		c.t.Error(err)
	}
}

// quiet waits until every webhook is delivered or given up.
func (c *company) quiet() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	c.must(c.sim.Quiet(ctx))
}

// settled waits until every snapshot equals Stripe's state.
func (c *company) settled(js jetstream.JetStream) {
	c.t.Helper()
	client, err := stripeapi.New(c.stripe)
	c.must(err)
	truth := map[string]entitlement.Snapshot{}
	for _, info := range c.sim.Customers() {
		account := info.Account
		state, _, err := client.Entitlements(true).Fetch(c.t.Context(), account, info.ID, func(context.Context) error { return nil })
		c.must(err)
		s := reduce.Reduce(state, time.Now())
		plans.Decide(&s, nil)
		truth[entitlement.Key(account, info.ID)] = s
	}
	natstest.Eventually(c.t, 2*patience, func() error {
		kv, err := js.KeyValue(c.t.Context(), entitlement.Bucket(entitlement.Test))
		if err != nil {
			return err
		}
		for key, want := range truth {
			e, err := kv.Get(c.t.Context(), key)
			if errors.Is(err, jetstream.ErrKeyNotFound) && want.Deleted {
				continue // deleted before it was ever synced
			}
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			has, err := entitlement.Decode(e.Value())
			if err != nil {
				return err
			}
			if want.ChangedAt, want.Cause = has.ChangedAt, has.Cause; !want.Equal(&has) {
				return fmt.Errorf("snapshot of %s is\n%s\nwant\n%s", key, has.Encode(), want.Encode())
			}
			delete(truth, key) // final: nothing changes at Stripe any more
		}
		return nil
	})
}

// logged waits until the log has every event that Stripe lists.
func (c *company) logged(js jetstream.JetStream) {
	c.t.Helper()
	natstest.Eventually(c.t, 2*patience, func() error {
		listed := 0
		for _, a := range c.sim.Accounts() {
			listed += len(a.Events())
		}
		// Cheaper than reading it each time.
		if n := stream(c.t, js, topology.EventsStream).CachedInfo().State.Msgs; n < uint64(listed) {
			return fmt.Errorf("the log has %d events, Stripe lists %d", n, listed)
		}
		ids := c.eventIDs(js)
		for _, a := range c.sim.Accounts() {
			for _, e := range a.Events() {
				if !ids[e.ID] {
					return fmt.Errorf("event %s (%s) of account %s is not in the log", e.ID, e.Type, a.ID())
				}
			}
		}
		return nil
	})
}

// eventIDs returns the ids of the events in the log.
func (c *company) eventIDs(js jetstream.JetStream) map[string]bool {
	c.t.Helper()
	ids := map[string]bool{}
	for _, m := range contents(c.t, js, topology.EventsStream) {
		_, id, _ := strings.Cut(m.header.Get(jetstream.MsgIDHeader), "/")
		ids[id] = true
	}
	return ids
}

// writes returns how many syncs that wrote the customer explain shows, and the first of them.
func (c *company) writes(js jetstream.JetStream, customer stripeevent.Customer) (writes int, first time.Time) {
	c.t.Helper()
	log, err := audit.Open(c.t.Context(), js)
	c.must(err)
	story, err := log.Story(c.t.Context(), customer, c.marks, time.Now())
	c.must(err)
	for _, step := range story.Steps {
		if step.Sync != nil && step.Sync.Record.Revision != 0 {
			if writes++; writes == 1 {
				first = step.At()
			}
		}
	}
	return writes, first
}
