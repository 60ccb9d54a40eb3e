package clustertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/natsproc"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/timing"
	"entitled/internal/topology"
	"entitled/stripesim"
)

const (
	mode   = entitlement.Live
	key    = "rk_live_cluster"
	secret = "whsec_cluster"
	nodes  = 3
)

// settleWithin bounds everything that should happen by itself without faults.
const settleWithin = 3 * time.Minute

// A rig is the pipeline, with one ingest and one syncer per node that connect to it first.
type rig struct {
	t       *testing.T
	cluster *natsproc.Cluster
	nc      *nats.Conn // the rig's own
	js      jetstream.JetStream
	client  *entitlement.Client
	sim     *stripesim.Sim
	door    string // URL for webhooks
	stripe  stripeapi.Config
	subs    []string

	mu      sync.Mutex
	acked   map[string]time.Time // event id: first answered 200
	sent    map[body]bool        // delivered or listed
	bytes   int                  // size of the events answered 200
	answers []answer
	faults  []fault
	lacks   []fault // when something had no leader
	changes atomic.Int64
}

// A body is an event's id with the SHA-256 of a sent body. An event has several bodies, since
// Stripe counts its deliveries in it.
type body struct {
	event  string
	digest [sha256.Size]byte
}

// An answer is an answer to a webhook.
type answer struct {
	status   int
	from, to time.Time
}

// A fault is what was injected into the cluster, and when.
type fault struct {
	what     string
	from, to time.Time
}

// A plan is the size of a rig and its rate of reading Stripe.
type plan struct {
	customers int
	rate      float64       // requests/s of the fleet
	timing    timing.Timing // production's if it is zero
}

func newRig(t *testing.T, p plan) *rig {
	t.Helper()
	r := &rig{
		t: t, acked: map[string]time.Time{}, sent: map[body]bool{},
	}
	var err error
	if r.cluster, err = natsproc.Start(t.Context(), natsproc.Config{Servers: nodes, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.cluster.Close)
	r.connectItself()
	// 47 s of retries: longer than an election takes.
	r.sim = stripesim.New(stripesim.Config{Seed: 1, Livemode: true, LogSize: 1 << 20, RetryFactor: 5000})
	t.Cleanup(r.sim.Close)
	r.sim.SetFaults(stripesim.Faults{Latency: stripesim.Range{Min: 20 * time.Millisecond, Max: 80 * time.Millisecond}})
	api := httptest.NewServer(r.overhear(r.sim))
	t.Cleanup(api.Close)
	r.stripe = stripeapi.Config{Key: key, Base: api.URL}
	options := topology.Options{Replicas: nodes, Modes: []entitlement.Mode{mode}}
	natstest.Eventually(t, settleWithin, func() error {
		_, err := topology.Apply(t.Context(), r.js, topology.All(options), topology.ApplyOptions{})
		return err
	})
	if r.client, err = entitlement.Open(t.Context(), r.nc, mode,
		&entitlement.Options{CheckEvery: time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Close() }) // its connection is closed next
	r.watchLeaders()
	r.populate(p.customers)
	marks, err := stripeevent.ParseTypes("customer.*")
	if err != nil {
		t.Fatal(err)
	}
	var doors []http.Handler
	for i := range nodes {
		doors = append(doors, r.ingest(i, marks))
		r.startSyncer(i, syncer.Config{
			Stripe: r.stripe, Rate: p.rate, Marks: marks, CoverageEvery: time.Minute,
			Topology: options, Timing: p.timing,
		})
	}
	web := httptest.NewServer(r.balance(doors))
	t.Cleanup(web.Close)
	r.door = web.URL + ingest.Path
	r.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: r.door, Secrets: []string{secret}, Livemode: true})
	return r
}

func (r *rig) populate(customers int) {
	r.t.Helper()
	// In a long test, events from before the endpoint existed would be recovered, and all their
	// customers marked.
	silent := r.sim.Silent()
	product, err := silent.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	if err != nil {
		r.t.Fatal(err)
	}
	price, err := silent.CreatePrice(stripesim.PriceParams{Product: product, LookupKey: "pro_monthly"})
	if err != nil {
		r.t.Fatal(err)
	}
	for range customers {
		c, err := silent.CreateCustomer(stripesim.CustomerParams{})
		if err != nil {
			r.t.Fatal(err)
		}
		sub, err := silent.CreateSubscription(stripesim.SubscriptionParams{
			Customer: c, Items: []stripesim.ItemParams{{Price: price}},
		})
		if err != nil {
			r.t.Fatal(err)
		}
		r.subs = append(r.subs, sub)
	}
}

// connectItself connects the rig and its client to any of the servers.
func (r *rig) connectItself() {
	r.t.Helper()
	var err error
	r.nc, err = nats.Connect(r.cluster.URL(), nats.Name("rig"), nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond),
		// Provoked errors are not worth a line on standard error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.nc.Close)
	if r.js, err = jetstream.New(r.nc, jetstream.WithDefaultTimeout(10*time.Second)); err != nil {
		r.t.Fatal(err)
	}
}

// connect returns a daemon's connection, which tries node i first.
func (r *rig) connect(name string, i int) *nats.Conn {
	r.t.Helper()
	nc, err := daemon.Connect(daemon.Connection{
		NATS: daemon.NATS{URL: r.cluster.URLFrom(i)}, Name: name, Log: r.log(name, slog.LevelError),
		Options: []nats.Option{nats.DontRandomize()},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *rig) log(who string, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: level})).With("who", who)
}

func (r *rig) ingest(i int, marks stripeevent.Types) http.Handler {
	r.t.Helper()
	const timeout = 5 * time.Second
	js, err := ingest.NewPublisher(r.connect(fmt.Sprintf("ingest%d", i+1), i), timeout)
	if err != nil {
		r.t.Fatal(err)
	}
	in, err := ingest.New(ingest.Config{
		Publisher: js, Secrets: []string{secret}, Types: marks, PublishTimeout: timeout,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return in.Handler()
}

func (r *rig) startSyncer(i int, cfg syncer.Config) {
	r.t.Helper()
	name := fmt.Sprintf("syncer%d", i+1)
	cfg.NATS, cfg.Log = r.connect(name, i), r.log(name, slog.LevelWarn)
	s, err := syncer.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // received when the test ends
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	})
}

// balance distributes webhooks over the doors, and records what was sent and how it was answered.
func (r *rig) balance(doors []http.Handler) http.Handler {
	var turn atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		id := r.note(data)
		req.Body = io.NopCloser(bytes.NewReader(data))
		begun := time.Now()
		written := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		doors[turn.Add(1)%uint64(len(doors))].ServeHTTP(written, req)
		ended := time.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.answers = append(r.answers, answer{written.status, begun, ended})
		if _, before := r.acked[id]; !before && written.status == http.StatusOK {
			r.acked[id] = ended
			r.bytes += len(data)
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// load changes perSecond random subscriptions per second until the returned function is called,
// which waits for the last.
func (r *rig) load(perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for ctx.Err() == nil {
			n := r.changes.Add(1)
			sub := r.subs[rng.IntN(len(r.subs))]
			if err := r.sim.UpdateSubscription(sub, map[string]string{"n": fmt.Sprint(n)}); err != nil {
				r.t.Errorf("change %d of %s: %v", n, sub, err)
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// inject records a fault for as long as do runs.
func (r *rig) inject(what string, do func()) {
	r.t.Helper()
	f := fault{what: what, from: time.Now()}
	do()
	f.to = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, f)
}

// pass waits for d while events flow.
func (r *rig) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

// awaitLeader waits until there is a leader, and returns it.
func (r *rig) awaitLeader(what string) (i int) {
	r.t.Helper()
	natstest.Eventually(r.t, settleWithin, func() error {
		if i = r.leaders()[what](); i < 0 {
			return fmt.Errorf("no %s", what)
		}
		return nil
	})
	return i
}

// watchLeaders records, until the test ends, when something that the pipeline needs has no leader
// that answers.
func (r *rig) watchLeaders() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for well := time.Now(); ; {
			asked := time.Now()
			if err := allLed(ctx, r.nc); err != nil {
				r.mu.Lock()
				if n := len(r.lacks); n > 0 && r.lacks[n-1].from.Equal(well) {
					r.lacks[n-1].to = time.Now()
				} else {
					r.lacks = append(r.lacks, fault{err.Error(), well, time.Now()})
				}
				r.mu.Unlock()
			} else {
				well = asked
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	r.t.Cleanup(func() { cancel(); watching.Wait() })
}

// allLed requests an answer from every leader.
func allLed(ctx context.Context, nc *nats.Conn) error {
	for _, subject := range []string{
		"STREAM.INFO." + topology.EventsStream, "STREAM.INFO." + topology.SyncStream,
		"STREAM.INFO." + topology.SyncedStream,
		"STREAM.INFO.KV_" + entitlement.Bucket(mode), "STREAM.INFO.KV_" + topology.StateBucket,
		"CONSUMER.INFO." + topology.SyncStream + "." + topology.LaneConsumer(mode, stripeevent.Now),
	} {
		within, cancel := context.WithTimeout(ctx, time.Second)
		m, err := nc.RequestWithContext(within, "$JS.API."+subject, nil)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
		var answer struct {
			Error   *struct{ Description string }
			Cluster struct{ Leader string }
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error != nil || answer.Cluster.Leader == "" {
			return fmt.Errorf("%s: %v, %s", subject, err, m.Data)
		}
	}
	return nil
}

// leaderless returns for how much of a span something had no leader.
func (r *rig) leaderless(from, to time.Time) (d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lacks {
		if l.from.Before(from) {
			l.from = from
		}
		if l.to.After(to) {
			l.to = to
		}
		d += max(l.to.Sub(l.from), 0)
	}
	return d
}
