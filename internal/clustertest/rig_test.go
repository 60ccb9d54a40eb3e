package clustertest

import (
	"bytes"
	"context"
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

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

const (
	mode   = entitlement.Live
	key    = "rk_live_cluster"
	secret = "whsec_cluster"
	nodes  = 3
)

// settleWithin bounds everything that should happen by itself once all is well again.
const settleWithin = 3 * time.Minute

// A rig is the pipeline: on every node one ingest and one syncer that connect to it first.
type rig struct {
	t       *testing.T
	cluster *natstest.ServerCluster
	sim     *stripesim.Sim
	stripe  stripeapi.Config
	policy  syncer.Policy
	subs    []string

	mu       sync.Mutex
	acked    map[string]time.Time // event id: when it was first answered 200
	statuses map[int]int
	slowest  time.Duration // answer to a webhook
	faults   []fault
	lacks    []fault // when something had no leader
	changes  atomic.Int64
}

// A fault is what was done to the cluster, and when.
type fault struct {
	what     string
	from, to time.Time
}

// A plan is how large a rig is and how fast it may read Stripe.
type plan struct {
	customers int
	rate      float64 // requests/s of the fleet
}

func newRig(t *testing.T, p plan) *rig {
	t.Helper()
	r := &rig{
		t: t, cluster: natstest.LinkedCluster(t, nodes, natstest.SyncAlways),
		acked: map[string]time.Time{}, statuses: map[int]int{},
		policy: syncer.Policy{PastDueGrace: 72 * time.Hour},
	}
	// 47 s of retries: longer than an election takes.
	r.sim = stripesim.New(stripesim.Config{Seed: 1, Livemode: true, LogSize: 1 << 20, RetryFactor: 5000})
	t.Cleanup(r.sim.Close)
	r.sim.SetFaults(stripesim.Faults{Latency: stripesim.Range{Min: 20 * time.Millisecond, Max: 80 * time.Millisecond}})
	api := httptest.NewServer(r.sim)
	t.Cleanup(api.Close)
	r.stripe = stripeapi.Config{Key: key, Base: api.URL}
	options := topology.Options{Replicas: nodes, Modes: []entitlement.Mode{mode}}
	natstest.Eventually(t, settleWithin, func() error {
		_, err := topology.Apply(t.Context(), r.cluster.JetStream(t), topology.All(options), topology.ApplyOptions{})
		return err
	})
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
			Stripe: r.stripe, Rate: p.rate, Policy: r.policy, Marks: marks, CoverageEvery: time.Minute, Topology: options,
		})
	}
	web := httptest.NewServer(r.balance(doors))
	t.Cleanup(web.Close)
	r.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: web.URL + "/webhooks/stripe", Secrets: []string{secret}, Livemode: true})
	return r
}

func (r *rig) populate(customers int) {
	r.t.Helper()
	// Events from before there was an endpoint would be recovered, and all customers with them marked, if the test took long.
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
		sub, err := silent.CreateSubscription(stripesim.SubscriptionParams{Customer: c, Items: []stripesim.ItemParams{{Price: price}}})
		if err != nil {
			r.t.Fatal(err)
		}
		r.subs = append(r.subs, sub)
	}
}

// connect is a daemon's connection that tries node i first.
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
	in, err := ingest.New(ingest.Config{Publisher: js, Secrets: []string{secret}, Types: marks, PublishTimeout: timeout})
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
	go func() { ended <- s.Run(ctx) }() // waited for when the test ends
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	})
}

// balance gives webhooks to the doors in turn, and keeps book of what Stripe was told.
func (r *rig) balance(doors []http.Handler) http.Handler {
	var turn atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		start := time.Now()
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		doors[turn.Add(1)%uint64(len(doors))].ServeHTTP(answer, req)
		var event struct{ ID string }
		if err := json.Unmarshal(body, &event); err != nil {
			r.t.Errorf("webhook: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.statuses[answer.status]++
		r.slowest = max(r.slowest, time.Since(start))
		if _, before := r.acked[event.ID]; !before && answer.status == http.StatusOK {
			r.acked[event.ID] = time.Now()
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

// load changes subscriptions at random, perSecond of them, until the returned function is called, which waits for the last.
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

// inject notes a fault while do lasts.
func (r *rig) inject(what string, do func()) {
	r.t.Helper()
	f := fault{what: what, from: time.Now()}
	do()
	f.to = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, f)
}

// pass lets time pass in which events flow.
func (r *rig) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

// kill stops node i without a word and starts it again after down.
func (r *rig) kill(what string, i int, down time.Duration) {
	r.t.Helper()
	r.inject(fmt.Sprintf("kill n%d, %s, for %s", i+1, what, down), func() {
		r.cluster.Kill(i)
		r.pass(down)
		r.cluster.Servers[i].Restart()
	})
}

// awaitLeader waits until somebody leads, and returns who.
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

// watchLeaders notes when something that the pipeline needs has no leader that answers, until the test ends.
func (r *rig) watchLeaders() {
	r.t.Helper()
	nc := r.cluster.Conn(r.t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for well := time.Now(); ; {
			asked := time.Now()
			if err := allLed(ctx, nc); err != nil {
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

// allLed asks every leader for itself.
func allLed(ctx context.Context, nc *nats.Conn) error {
	for _, subject := range []string{
		"STREAM.INFO." + topology.EventsStream, "STREAM.INFO." + topology.SyncStream, "STREAM.INFO." + topology.SyncedStream,
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

// leaderless is how much of a span something had no leader.
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
