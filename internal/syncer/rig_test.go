package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// patience bounds what a test waits for; nothing takes nearly as long unless it is stuck.
const patience = 5 * time.Minute

// A rig is a pipeline without its door: a nats-server, a simulated Stripe and syncers. Markers and
// events are published as ingest would.
type rig struct {
	t      testing.TB
	srv    *natstest.Server // nil for a cluster
	conn   func(testing.TB, ...nats.Option) *nats.Conn
	js     jetstream.JetStream
	assets topology.Options
	sim    *stripesim.Sim
	stripe *heldStripe
	url    string
	// product is what the account sells, price its price.
	product, price string
	cfg            func(*Config)
	kv             jetstream.KeyValue // of snapshots, once it was read
	// document is the plans document that was applied last.
	document *plans.Document
}

func newRig(t testing.TB, configure func(*Config)) *rig {
	t.Helper()
	srv := natstest.Run(t)
	r := rigOn(t, srv.Conn, topology.Options{}, configure)
	r.srv = srv
	return r
}

// rigOn is a rig on servers that conn connects to.
func rigOn(t testing.TB, conn func(testing.TB, ...nats.Option) *nats.Conn, assets topology.Options,
	configure func(*Config)) *rig {
	t.Helper()
	js, err := jetstream.New(conn(t), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	sim := stripesim.New(stripesim.Config{Seed: 1})
	t.Cleanup(sim.Close)
	held := &heldStripe{next: sim}
	web := httptest.NewServer(held)
	t.Cleanup(web.Close)
	r := &rig{t: t, conn: conn, js: js, assets: assets, sim: sim, stripe: held, url: web.URL, cfg: configure}
	product, err := sim.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	if err != nil {
		t.Fatal(err)
	}
	r.product = product
	if r.price, err = sim.CreatePrice(stripesim.PriceParams{Product: product, LookupKey: "pro_monthly"}); err != nil {
		t.Fatal(err)
	}
	// A young cluster may leave a request without an answer while it elects.
	natstest.Eventually(t, patience, func() error {
		_, err := topology.Apply(t.Context(), r.js, topology.Syncer(assets, entitlement.Test), topology.ApplyOptions{})
		return err
	})
	return r
}

// config is a syncer's, without its connection.
func (r *rig) config() Config {
	r.t.Helper()
	marks, err := stripeevent.ParseTypes("customer.*")
	if err != nil {
		r.t.Fatal(err)
	}
	return Config{
		Stripe:        stripeapi.Config{Key: "sk_test_rig", Base: r.url},
		Rate:          1000,
		Marks:         marks,
		CoverageEvery: 5 * time.Minute,
		Topology:      r.assets,
		Timing:        natstest.Timing,
		Log:           slog.New(slog.NewTextHandler(testWriter{r.t}, nil)),
	}
}

// start runs a syncer of its own connection until stop is called or the test ends.
func (r *rig) start() (stop func()) {
	r.t.Helper()
	cfg := r.config()
	cfg.NATS = r.conn(r.t)
	if r.cfg != nil {
		r.cfg(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // stop receives
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("syncer: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// restart restarts the server and waits until it answers the rig: requests to the old one at its
// end get no answer.
func (r *rig) restart() {
	r.t.Helper()
	r.srv.Restart()
	natstest.Eventually(r.t, patience, func() error {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		_, err := r.js.AccountInfo(ctx)
		return err
	})
}

// testWriter shows what the syncers logged beside a failing test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func (r *rig) customer() stripeevent.Customer {
	r.t.Helper()
	id, err := r.sim.CreateCustomer(stripesim.CustomerParams{})
	if err != nil {
		r.t.Fatal(err)
	}
	return stripeevent.Customer{Mode: entitlement.Test, ID: id}
}

// feature gives the product a feature of Stripe's entitlements.
func (r *rig) feature(key string) {
	r.t.Helper()
	if err := r.sim.SetProductFeatures(r.product, key); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) subscribe(c stripeevent.Customer) (id string) {
	r.t.Helper()
	id, err := r.sim.CreateSubscription(stripesim.SubscriptionParams{
		Customer: c.ID, Items: []stripesim.ItemParams{{Price: r.price}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// event stores an event of the customer and returns its sequence; mark stores its marker.
func (r *rig) event(c stripeevent.Customer) uint64 {
	r.t.Helper()
	ack, err := r.js.Publish(r.t.Context(), stripeevent.EventSubject(c, "customer.subscription.updated"), []byte(`{}`))
	if err != nil {
		r.t.Fatal(err)
	}
	return ack.Sequence
}

func (r *rig) mark(c stripeevent.Customer) {
	r.t.Helper()
	body := stripeevent.EncodeMarker(entitlement.Cause{Trigger: stripeevent.TriggerWebhook, Event: "evt_1",
		Type: "customer.subscription.updated"})
	if _, err := r.js.Publish(r.t.Context(), stripeevent.SyncSubject(stripeevent.Now, c), body); err != nil {
		r.t.Fatal(err)
	}
}

// snapshot is what the bucket says of the customer; ok is false if it says nothing.
func (r *rig) snapshot(c stripeevent.Customer) (s entitlement.Snapshot, revision uint64, ok bool) {
	r.t.Helper()
	if r.kv == nil {
		var err error
		if r.kv, err = r.js.KeyValue(r.t.Context(), entitlement.Bucket(c.Mode)); err != nil {
			r.t.Fatal(err)
		}
	}
	e, err := r.kv.Get(r.t.Context(), c.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return s, 0, false
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if s, err = entitlement.Decode(e.Value()); err != nil {
		r.t.Fatal(err)
	}
	return s, e.Revision(), true
}

// await waits until the customer's snapshot satisfies want.
func (r *rig) await(c stripeevent.Customer, what string,
	want func(s entitlement.Snapshot) bool) (s entitlement.Snapshot) {
	r.t.Helper()
	natstest.Eventually(r.t, patience, func() error {
		var ok bool
		if s, _, ok = r.snapshot(c); !ok {
			return fmt.Errorf("%s has no snapshot; want %s", c, what)
		}
		if !want(s) {
			return fmt.Errorf("snapshot of %s is %s; want %s", c, s.Encode(), what)
		}
		return nil
	})
	return s
}

// records are the customer's, oldest first.
func (r *rig) records(c stripeevent.Customer) (all []record.Record) {
	r.t.Helper()
	for _, m := range r.stored(topology.SyncedStream, stripeevent.SyncedSubject(c)) {
		var rec record.Record
		if err := json.Unmarshal(m.Data(), &rec); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

// stored are the messages that a stream has now under a filter, the oldest first.
func (r *rig) stored(stream, filter string) (all []jetstream.Msg) {
	r.t.Helper()
	cons, err := r.js.CreateConsumer(r.t.Context(), stream,
		jetstream.ConsumerConfig{FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		r.t.Fatal(err)
	}
	// They are counted: FetchNoWait takes a second in which nothing comes for the end.
	n := int(cons.CachedInfo().NumPending)
	if n == 0 {
		return nil
	}
	batch, err := cons.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		r.t.Fatal(err)
	}
	for m := range batch.Messages() {
		all = append(all, m)
	}
	if len(all) != n || batch.Error() != nil {
		r.t.Fatalf("%d messages of %s came, want %d: %v", len(all), stream, n, batch.Error())
	}
	return all
}

// awaitRecords waits until the customer has n records that are not failures, and none of its
// markers is pending.
func (r *rig) awaitRecords(c stripeevent.Customer, n int) (all []record.Record) {
	r.t.Helper()
	natstest.Eventually(r.t, patience, func() error {
		if all = r.records(c); len(all) < n {
			return fmt.Errorf("%s has %d records, want %d", c, len(all), n)
		}
		return nil
	})
	r.awaitIdle()
	return all
}

// awaitIdle waits until no marker is pending.
func (r *rig) awaitIdle() {
	r.t.Helper()
	r.awaitIdleFor(patience)
}

func (r *rig) awaitIdleFor(d time.Duration) {
	r.t.Helper()
	natstest.Eventually(r.t, d, func() error {
		stream, err := r.js.Stream(r.t.Context(), topology.SyncStream)
		if err != nil {
			return err
		}
		info, err := stream.Info(r.t.Context(), jetstream.WithSubjectFilter("stripe.sync.>"))
		if err != nil {
			return err
		}
		if n := len(info.State.Subjects); n != 0 {
			return fmt.Errorf("%d markers pending", n)
		}
		return nil
	})
}

// publishJob makes a job due now.
func (r *rig) publishJob(name string) {
	r.t.Helper()
	if _, err := r.js.Publish(r.t.Context(), stripeevent.JobSubject(entitlement.Test, name), nil); err != nil {
		r.t.Fatal(err)
	}
}

// heldStripe can hold back answers: the state in them is of when they were asked for.
type heldStripe struct {
	next http.Handler
	mu   sync.Mutex
	hold []*holding
}

type holding struct {
	customer string
	asked    chan struct{}
	release  chan struct{}
}

// holdNext holds the next listing of a customer's subscriptions. asked is closed when its answer is
// made, and the answer is given after release is closed.
func (h *heldStripe) holdNext(customer string) *holding {
	x := &holding{customer: customer, asked: make(chan struct{}), release: make(chan struct{})}
	h.mu.Lock()
	h.hold = append(h.hold, x)
	h.mu.Unlock()
	return x
}

func (h *heldStripe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	var mine *holding
	for i, x := range h.hold {
		if r.URL.Query().Get("customer") == x.customer {
			mine = x
			h.hold = append(h.hold[:i:i], h.hold[i+1:]...)
			break
		}
	}
	h.mu.Unlock()
	if mine == nil {
		h.next.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	h.next.ServeHTTP(answer, r)
	close(mine.asked)
	select {
	case <-mine.release:
	case <-r.Context().Done():
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (r *rig) wait(what string, c <-chan struct{}) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		r.t.Fatalf("%s: not within %s", what, patience)
	}
}

func jsonNumber(t *testing.T, data []byte, field string) uint64 {
	t.Helper()
	var m map[string]json.RawMessage
	var n uint64
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if err := json.Unmarshal(m[field], &n); err != nil {
		t.Fatalf("%s of %s: %v", field, data, err)
	}
	return n
}
