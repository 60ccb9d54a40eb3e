package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// An outageRig is the pipeline with a door that can be shut and syncers that can be stopped.
type outageRig struct {
	t       *testing.T
	srv     *natstest.Server
	js      jetstream.JetStream
	sim     *stripesim.Sim
	cfg     syncer.Config
	shut    atomic.Bool
	price   string
	started []func()
	looked  int // requests to Stripe by the test itself
}

func newOutageRig(t *testing.T) *outageRig {
	t.Helper()
	srv := natstest.Run(t)
	r := &outageRig{t: t, srv: srv, js: srv.JetStream(t)}
	// Stripe's retries end after a quarter of a second.
	r.sim = stripesim.New(stripesim.Config{Seed: 1, RetryFactor: 1e6})
	t.Cleanup(r.sim.Close)
	api := httptest.NewServer(r.sim)
	t.Cleanup(api.Close)
	marks, err := stripeevent.ParseTypes("customer.*,invoice.*")
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = syncer.Config{
		Stripe: stripeapi.Config{Key: "sk_test_outage", Base: api.URL}, Rate: 1000, Marks: marks,
		CoverageEvery: 5 * time.Minute,
		Timing:        natstest.Timing, Log: slog.New(slog.DiscardHandler),
	}
	if err := topology.Ensure(t.Context(), r.js, topology.Syncer(topology.Options{}, entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	const timeout = 5 * time.Second
	publisher, err := ingest.NewPublisher(srv.Conn(t), timeout)
	if err != nil {
		t.Fatal(err)
	}
	in, err := ingest.New(ingest.Config{Publisher: publisher, Secrets: []string{"whsec_outage"}, Types: marks,
		PublishTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.shut.Load() {
			panic(http.ErrAbortHandler) // as if no process listened
		}
		in.Handler().ServeHTTP(w, req)
	}))
	t.Cleanup(door.Close)
	r.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: door.URL + "/webhooks/stripe",
		Secrets: []string{"whsec_outage"}})
	product, err := r.sim.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	r.ok(err)
	r.price, err = r.sim.CreatePrice(stripesim.PriceParams{Product: product})
	r.ok(err)
	return r
}

func (r *outageRig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *outageRig) start() {
	r.t.Helper()
	cfg := r.cfg
	cfg.NATS = r.srv.Conn(r.t)
	s, err := syncer.New(cfg)
	r.ok(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // stop receives
	r.started = append(r.started, func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("syncer: %v", err)
		}
	})
}

func (r *outageRig) stop() {
	for _, stop := range r.started {
		stop()
	}
	r.started = nil
}

func (r *outageRig) subscribe(a *stripesim.Account) (customer, sub string) {
	r.t.Helper()
	customer, err := a.CreateCustomer(stripesim.CustomerParams{})
	r.ok(err)
	sub, err = a.CreateSubscription(stripesim.SubscriptionParams{Customer: customer,
		Items: []stripesim.ItemParams{{Price: r.price}}})
	r.ok(err)
	return customer, sub
}

// pass lets two hours pass at Stripe, with all that becomes due in them, and webhooks come, or
// Stripe give up on them.
func (r *outageRig) pass() {
	r.t.Helper()
	r.sim.Advance(2 * time.Hour)
	r.ok(r.sim.Quiet(r.t.Context()))
}

// wrong is the first customer whose snapshot is not as Stripe has it.
func (r *outageRig) wrong(customers []string) error {
	requests, err := differs(r.t.Context(), r.js, r.cfg.Stripe, customers)
	r.looked += requests
	return err
}

// differs returns an error for the first customer whose snapshot is not what Stripe has, and the
// number of requests to Stripe that it took to look.
func differs(ctx context.Context, js jetstream.JetStream, cfg stripeapi.Config, customers []string) (
	requests int, err error) {
	stripe, err := stripeapi.New(cfg)
	if err != nil {
		return 0, err
	}
	kv, err := js.KeyValue(ctx, entitlement.Bucket(entitlement.Test))
	if err != nil {
		return 0, err
	}
	for _, c := range customers {
		state, trace, err := stripe.Entitlements(true).Fetch(ctx, "", c, func(context.Context) error { return nil })
		requests += trace.Requests
		if err != nil {
			return requests, err
		}
		e, err := kv.Get(ctx, c)
		if err != nil {
			return requests, fmt.Errorf("%s: %w", c, err)
		}
		got, err := entitlement.Decode(e.Value())
		if err != nil {
			return requests, fmt.Errorf("%s: %w", c, err)
		}
		want := reduce.Reduce(state, got.AsOf)
		plans.Decide(&want, nil)
		if !want.Equal(&got) {
			return requests, fmt.Errorf("%s: snapshot is %s, Stripe has %s", c, got.Encode(), want.Encode())
		}
	}
	return requests, nil
}

// Six hours without us, in Stripe's time. For two the syncers are down, then ingest is too and
// Stripe gives up on its webhooks, and for the last two it does not even generate events. Then
// everything is started again, and what is due is due. Nothing else is done.
func TestSixHourOutage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("its parts are tested with the race detector where they are")
	}
	r := newOutageRig(t)
	var customers, subs []string
	for range 45 {
		c, s := r.subscribe(r.sim.Account)
		customers, subs = append(customers, c), append(subs, s)
	}
	r.start()
	r.ok(r.sim.Quiet(t.Context()))
	natstest.Eventually(t, patience, func() error { return r.wrong(customers) })
	r.stop()

	change := func(a *stripesim.Account, from int) {
		t.Helper()
		for i := from; i < from+12; i += 4 {
			r.ok(a.UpdateSubscription(subs[i], map[string]string{"seats": fmt.Sprint(i)}))
			r.ok(a.Cancel(subs[i+1]))
			r.ok(a.CancelAtPeriodEnd(subs[i+2]))
			r.ok(a.UpdateCustomer(customers[i+3], map[string]string{"vip": "yes"}))
		}
		r.ok(a.DeleteCustomer(customers[from+12]))
		c, _ := r.subscribe(a)
		customers = append(customers, c)
	}
	change(r.sim.Account, 0)
	r.pass()
	if n := r.markers(); n == 0 {
		t.Fatal("no customer is dirty after two hours without syncers")
	}
	r.shut.Store(true)
	change(r.sim.Account, 15)
	r.pass()
	change(r.sim.Silent(), 30)
	r.pass()
	r.shut.Store(false)
	if r.wrong(customers) == nil {
		t.Fatal("there was nothing to mend")
	}

	before := r.sim.Stats().Requests - r.looked
	for _, job := range []string{"recover", "sweep", "coverage"} {
		_, err := r.js.Publish(t.Context(), stripeevent.JobSubject(entitlement.Test, job), nil)
		r.ok(err)
	}
	r.start()
	r.start()
	natstest.Eventually(t, 2*patience, func() error {
		if n := r.markers(); n != 0 {
			return fmt.Errorf("%d customers are dirty", n)
		}
		if err := r.lost(); err != nil {
			return err
		}
		return r.wrong(customers)
	})
	r.stop()
	// One for each customer that changed, one more where the customer itself is asked for, some
	// twice because both the sweep and recover find them, and a few for the lists.
	if n := r.sim.Stats().Requests - r.looked - before; n > 2*len(customers) {
		t.Errorf("%d requests to Stripe for %d customers", n, len(customers))
	}
}

// lost is the first event of Stripe's list that is not in the log.
func (r *outageRig) lost() error {
	r.t.Helper()
	cons, err := r.js.OrderedConsumer(r.t.Context(), topology.EventsStream, jetstream.OrderedConsumerConfig{})
	r.ok(err)
	batch, err := cons.FetchNoWait(10_000)
	r.ok(err)
	logged := make(map[string]bool)
	for m := range batch.Messages() {
		logged[m.Headers().Get(jetstream.MsgIDHeader)] = true
	}
	for _, e := range r.sim.Events() {
		if !logged[stripeevent.MsgID("", e.ID)] {
			return fmt.Errorf("event %s (%s) is not in the log", e.ID, e.Type)
		}
	}
	return nil
}

func (r *outageRig) markers() int {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.SyncStream)
	r.ok(err)
	info, err := stream.Info(r.t.Context(), jetstream.WithSubjectFilter("stripe.sync.>"))
	r.ok(err)
	return len(info.State.Subjects)
}
