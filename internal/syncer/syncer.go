// Package syncer keeps the snapshots of one mode as Stripe has them: it takes the markers of dirty customers, reads each
// customer's whole state from Stripe and writes it as the next revision of the snapshot.
//
// Any number of syncers share the work; none keeps anything on disk. What they guarantee together:
//
//   - Every marker leads to a fetch that started after the marker was stored, or to a newer marker of the same customer.
//   - A snapshot never goes back: the revision is read before the fetch, the write succeeds only on that revision, and
//     every sync writes ([protocol]).
//   - A snapshot is whole: an error on any page discards the fetch.
//   - The fleet stays within its budget of requests to Stripe, and what webhooks mark goes before bulk work.
//
// A syncer that is killed loses nothing: its markers are delivered to another one after [topology.AckWait].
//
// One idea a file: the protocol itself is protocol.go, what it talks to outside.go, what a failure leads to disposition.go,
// who has access reduce.go.
package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Config is what a syncer needs. Fields without a default are required.
type Config struct {
	NATS *nats.Conn
	// Stripe is how to read Stripe. Its key decides the mode.
	Stripe stripeapi.Config
	// Rate is the fleet's budget, in requests/s.
	Rate   float64
	Policy Policy
	// AdoptPolicy says to put Policy, and whether Stripe reads features, in force for all syncers of the mode when this one
	// starts. Without it a syncer with another policy than the one in force takes no work.
	AdoptPolicy bool
	// Marks are the event types that mark a customer; coverage expects a sync for each of them.
	Marks stripeevent.Types
	// CoverageEvery is the interval of the coverage job.
	CoverageEvery time.Duration
	Topology      topology.Options
	// Traces, if not nil, makes the spans of syncs and jobs.
	Traces trace.TracerProvider
	Log    *slog.Logger
	// Ready is told, by condition, what keeps the syncer from working; nil when nothing does. Defaults to nobody.
	Ready func(condition string, err error)
}

// The conditions that [Config.Ready] is told of.
const (
	conditionTopology = "topology"
	conditionPolicy   = "policy"
	conditionStripe   = "stripe"
	conditionWork     = "work"
	// and conditionStore
)

// finishWithin is how long a syncer that is asked to stop may take to finish what it holds.
const finishWithin = 10 * time.Second

// A Syncer syncs the customers of one mode. Create it with [New].
type Syncer struct {
	cfg     Config
	mode    entitlement.Mode
	nc      *nats.Conn
	js      publisher
	storage *storage
	stripe  *stripeapi.Client
	assets  []topology.Asset
	log     *slog.Logger
	ready   func(string, error)
	metrics *metrics
	gauges  *gauges
	fill    *fill
	tracer  tracer

	evidence  *evidence
	gate      *gate
	refused   chan func(context.Context) error // the request that was refused
	look      chan struct{}
	running   *sync.Map // names of the jobs that run here
	readings  *readings
	strangers *strangers

	// Set by Run before anything uses them.
	store    *store
	protocol *protocol
	cover    *coverage
	relief   *reliever
	jobs     []job

	// adopt says that it may still adopt its policy, agreed that its policy was in force. Run's goroutine and, while Run waits
	// for it, keepPolicy's own them.
	adopt, agreed bool
}

// New checks the configuration. It talks to nobody.
func New(cfg Config) (*Syncer, error) {
	mode, err := stripeapi.ModeOf(cfg.Stripe.Key)
	if err != nil {
		return nil, err
	}
	m, tr := newMetrics(), newTracer(cfg.Traces)
	cfg.Stripe.Observe = func(ctx context.Context, o stripeapi.Observation) {
		m.request(o)
		tr.request(ctx, o)
	}
	client, err := stripeapi.New(cfg.Stripe)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(cfg.NATS)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	s := &Syncer{
		cfg:       cfg,
		mode:      mode,
		nc:        cfg.NATS,
		stripe:    client,
		assets:    topology.Syncer(cfg.Topology, mode),
		log:       cfg.Log,
		ready:     cfg.Ready,
		metrics:   m,
		gauges:    newGauges(cfg.Log),
		fill:      newFill(cfg.Log, cfg.NATS),
		tracer:    tr,
		evidence:  &evidence{},
		gate:      newGate(),
		refused:   make(chan func(context.Context) error, 1),
		look:      make(chan struct{}, 1),
		running:   &sync.Map{},
		readings:  &readings{},
		adopt:     cfg.AdoptPolicy,
		strangers: &strangers{},
	}
	if s.ready == nil {
		s.ready = func(string, error) {}
	}
	s.storage = &storage{ready: s.ready, now: time.Now}
	s.js = publisher{JetStream: js, took: s.storage.took}
	s.ready(conditionTopology, errors.New("not checked yet"))
	return s, nil
}

// Metrics are the syncer's collectors, for its caller to register.
func (s *Syncer) Metrics() []prometheus.Collector {
	return append(s.metrics.collectors(), s.gauges, s.fill)
}

// Run syncs until ctx ends, then takes no more work, finishes what it holds within 10 s and returns nil. It returns an
// error when the topology differs from what it needs. While another policy is in force it takes no work and waits.
func (s *Syncer) Run(ctx context.Context) error {
	if err := topology.Wait(ctx, s.js, s.assets, func(err error) { s.ready(conditionTopology, err) }); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	// NATS may be restarting, or electing a leader, at this very moment.
	for err := s.open(ctx); err != nil; err = s.open(ctx) {
		s.ready(conditionTopology, err)
		if sleep(ctx, time.Second) != nil {
			return nil
		}
	}
	s.policyHolds(ctx) // said before the topology is, so that there is no instant at which all seems well
	s.ready(conditionTopology, nil)

	keeping, stop := context.WithCancel(ctx)
	var kept sync.WaitGroup
	defer kept.Wait()
	defer stop()
	kept.Go(func() { s.keepTopology(keeping) })
	kept.Go(func() { s.keepMirrors(keeping) })
	for s.awaitPolicy(ctx) == nil {
		if err := s.work(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// work syncs until ctx ends, and then finishes what it holds, or until another policy is in force, and then drops what it holds.
func (s *Syncer) work(ctx context.Context) error {
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	defer context.AfterFunc(ctx, func() {
		// Ends with hard, so it outlives Run by nothing.
		if sleep(hard, finishWithin) == nil {
			kill()
		}
	})()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { s.lane(ctx, hard, stripeevent.Now) })
	all.Go(func() { s.lane(ctx, hard, stripeevent.Bulk) })
	all.Go(func() { s.runJobs(ctx) })
	all.Go(func() { s.keepSchedules(ctx) })
	all.Go(func() { s.watchStrays(ctx) })
	all.Go(func() { s.probe(ctx) })
	all.Go(func() { s.relief.watch(ctx) })
	all.Go(func() {
		if s.keepPolicy(ctx); ctx.Err() == nil {
			stop()
			kill() // what is being read now would be decided under the former policy
		}
	})
	err := s.serve(ctx, hard)
	stop()
	all.Wait()
	return err
}

// open binds what exists now that the topology does.
func (s *Syncer) open(ctx context.Context) error {
	store, err := openStore(ctx, s.js, s.mode)
	if err != nil {
		return err
	}
	store.stripe = s.stripe
	store.throttle = s.metrics.throttled.Inc
	store.unreadable = func(c stripeevent.Customer, seq uint64) {
		s.log.Warn("record in "+topology.SyncedStream+" does not decode, its customer counts as not synced", "customer", c, "stream_seq", seq)
	}
	store.budget = stripeapi.NewBudget(stripeapi.BudgetConfig{
		KV:   store.state,
		Mode: s.mode,
		Rate: s.cfg.Rate,
		Log:  s.log,
	})
	s.store = store
	s.gauges.open(&Inspector{store: store, mode: s.mode}, store.budget)
	s.protocol = newProtocol(s.tracer.outside(store), s.cfg.Policy, s.cfg.Rate)
	s.protocol.rest = s.tracer.rest
	s.protocol.room = store.room
	s.protocol.conflicted = s.metrics.conflicts.Inc
	s.relief = &reliever{store: store, mode: s.mode}
	s.protocol.covered, s.protocol.yields = s.relief.covers, s.relief.yields
	s.cover = &coverage{
		store:     store,
		mode:      s.mode,
		policy:    s.cfg.Policy,
		marks:     s.cfg.Marks.Marks,
		uncovered: func(n int) { s.metrics.uncovered.Add(float64(n)) },
		rewoken:   func(n int) { s.metrics.rewoken.Add(float64(n)) },
	}
	catalog := &fanout{
		store:    store,
		mode:     s.mode,
		features: s.cfg.Stripe.Features,
		settle:   readingEnds,
		marked:   func(n int) { s.metrics.fannedOut.Add(float64(n)) },
	}
	s.jobs = []job{
		{name: "coverage", schedule: "@every " + s.cfg.CoverageEvery.String(), atOnce: true, run: s.cover.run},
		{name: "recover", schedule: "@every " + recoverEvery.String(), atOnce: true, run: s.runRecover},
		{name: "fanout", schedule: "@every " + fanoutEvery.String(), atOnce: true, run: catalog.run},
		{name: "relief", schedule: "@every " + reliefEvery.String(), run: s.runRelief},
		{name: "sweep", schedule: sweepAt, run: s.runSweep},
	}
	for _, j := range s.jobs {
		s.metrics.jobs.WithLabelValues(j.name) // so that a job which never ends is seen to have ended 0 times
	}
	return nil
}

func newProtocol(o outside, policy Policy, rate float64) *protocol {
	n := fetches(rate)
	return &protocol{
		outside:    o,
		policy:     policy,
		now:        time.Now,
		rest:       sleep,
		room:       func() int { return math.MaxInt },
		together:   sideBySide,
		conflicted: func() {},
		covered:    func(context.Context, task) (bool, bool, error) { return false, false, nil },
		yields:     func(task) bool { return false },
		fetching: map[stripeapi.Kind]chan struct{}{
			stripeapi.Webhooks: make(chan struct{}, n),
			stripeapi.Requests: make(chan struct{}, n),
			stripeapi.Bulk:     make(chan struct{}, n/2),
		},
	}
}
