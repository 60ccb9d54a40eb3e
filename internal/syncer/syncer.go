// Package syncer is the process that keeps the snapshots of one mode as Stripe has them: it takes
// markers and gives them to the protocol, runs the jobs of sweep and repair when they are due,
// answers the requests of apps, and shows readiness and metrics.
//
// Any number of syncers share the work; none keeps anything on disk. Together they guarantee:
//
//   - Every marker leads to a fetch that started after the marker was stored, or to a newer marker
//     of the same customer.
//   - A snapshot never goes back ([protocol]).
//   - A snapshot is whole: an error on any page discards the fetch.
//   - The fleet stays within its budget of requests to Stripe, and webhooks go before bulk work.
//
// A syncer that is killed loses nothing: its markers are delivered to another one after
// [topology.AckWait].
package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"entitled/entitlement"
	"entitled/internal/gate"
	"entitled/internal/inspect"
	"entitled/internal/protocol"
	"entitled/internal/repair"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

// Config is what a syncer needs. Fields without a default are required.
type Config struct {
	NATS *nats.Conn
	// Stripe is how to read Stripe. Its key decides the mode.
	Stripe stripeapi.Config
	// Rate is the fleet's budget, in requests/s.
	Rate float64
	// Marks are the event types that mark a customer; coverage expects a sync for each of them.
	Marks stripeevent.Types
	// CoverageEvery is the interval of the coverage job.
	CoverageEvery time.Duration
	Topology      topology.Options
	// Timing has the pauses. Defaults to [timing.Production].
	Timing timing.Timing
	// Traces, if not nil, makes the spans of syncs and jobs.
	Traces trace.TracerProvider
	Log    *slog.Logger
	// Ready, if not nil, is called with the error that keeps the syncer from working, by condition,
	// and with nil when the condition holds again.
	Ready func(condition string, err error)
}

// The conditions of [Config.Ready].
const (
	conditionTopology = "topology"
	conditionPlans    = "plans"
	conditionStripe   = "stripe"
	conditionWork     = "work"
	conditionStore    = "store"
)

// A Syncer syncs the customers of one mode. Create it with [New].
type Syncer struct {
	cfg     Config
	mode    entitlement.Mode
	nc      *nats.Conn
	js      store.Publisher
	storage *store.Storage
	stripe  *stripeapi.Client
	assets  []topology.Asset
	log     *slog.Logger
	ready   func(string, error)
	metrics *metrics
	gauges  *inspect.Gauges
	fill    *inspect.Fill
	tracer  tracer

	gate      *gate.Gate
	refused   chan func(context.Context) error // the request that was refused
	look      chan struct{}
	running   *sync.Map // names of the jobs that run here
	readings  *protocol.Readings
	strangers *protocol.Strangers

	// Set by Run before anything uses them.
	store    *store.Store
	outside  protocol.Outside // store, traced
	protocol *protocol.Protocol
	cover    *repair.Coverage
	relief   *reliever
	decider  *repair.Decider
	jobs     []job

	// announced is the number of the plans document under which every snapshot is known to be decided.
	// It belongs to Run's goroutine, and to keepPlans' while Run waits for that one.
	announced uint64
}

// New checks the configuration. It sends nothing.
func New(cfg Config) (*Syncer, error) {
	mode, err := stripeapi.ModeOf(cfg.Stripe.Key)
	if err != nil {
		return nil, err
	}
	cfg.Timing = cmp.Or(cfg.Timing, timing.Production)
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
		gauges:    inspect.NewGauges(cfg.Log),
		fill:      inspect.NewFill(cfg.Log, cfg.NATS),
		tracer:    tr,
		gate:      gate.New(),
		refused:   make(chan func(context.Context) error, 1),
		look:      make(chan struct{}, 1),
		running:   &sync.Map{},
		readings:  &protocol.Readings{},
		strangers: &protocol.Strangers{},
	}
	if s.ready == nil {
		s.ready = func(string, error) {}
	}
	s.storage = store.NewStorage(cfg.Timing, func(err error) { s.ready(conditionStore, err) })
	s.js = store.Publisher{JetStream: js, Took: s.storage.Took}
	s.ready(conditionTopology, errors.New("not checked yet"))
	return s, nil
}

// Metrics returns the syncer's collectors, for its caller to register.
func (s *Syncer) Metrics() []prometheus.Collector {
	return append(s.metrics.collectors(), s.gauges, s.fill)
}

// Run syncs until ctx ends, then takes no more work, finishes the work under way within 10 s and
// returns nil. It returns an error if the topology differs from the one it needs. While the plans
// document cannot be used it takes no work and waits.
func (s *Syncer) Run(ctx context.Context) error {
	if err := topology.Wait(ctx, s.js, s.assets, func(err error) { s.ready(conditionTopology, err) }); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	// NATS may be restarting, or electing a leader.
	for err := s.open(ctx); err != nil; err = s.open(ctx) {
		s.ready(conditionTopology, err)
		if protocol.Sleep(ctx, s.cfg.Timing.Reopen) != nil {
			return nil
		}
	}
	s.plansHold(ctx) // before the topology is reported ready, so that the syncer is at no time wrongly ready
	s.ready(conditionTopology, nil)

	keeping, stop := context.WithCancel(ctx)
	var kept sync.WaitGroup
	defer kept.Wait()
	defer stop()
	kept.Go(func() { s.keepTopology(keeping) })
	kept.Go(func() { s.keepMirrors(keeping) })
	kept.Go(func() { s.keepFeatures(keeping) })
	for s.awaitPlans(ctx) == nil {
		if err := s.work(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// work syncs until ctx ends, and then finishes the work under way; or until the plans document
// cannot be used, and then drops it.
func (s *Syncer) work(ctx context.Context) error {
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	defer context.AfterFunc(ctx, func() {
		// Ends with hard, and so before Run returns.
		if protocol.Sleep(hard, timing.FinishWithin) == nil {
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
		if s.keepPlans(ctx); ctx.Err() == nil {
			stop()
			kill()
		}
	})
	err := s.serve(ctx, hard)
	stop()
	all.Wait()
	return err
}

// processName tells this process from others of the fleet.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s (process %d)", host, os.Getpid())
}

// open opens the streams and buckets, which exist now, and builds the parts that need them.
func (s *Syncer) open(ctx context.Context) error {
	store, err := store.Open(ctx, s.js, s.mode)
	if err != nil {
		return err
	}
	store.Stripe, store.Timing = s.stripe, s.cfg.Timing
	store.OnThrottle = s.metrics.throttled.Inc
	store.OnUnreadable = func(c stripeevent.Customer, seq uint64) {
		s.log.Warn("record in "+topology.SyncedStream+" does not decode, its customer counts as not synced",
			"customer", c, "stream_seq", seq)
	}
	store.Budget = budget.New(budget.Config{
		KV:   store.State,
		Mode: s.mode,
		Rate: s.cfg.Rate,
		Log:  s.log,
	})
	s.store = store
	s.gauges.Open(inspect.New(store, s.mode), store.Budget)
	s.outside = s.tracer.outside(store)
	s.relief = &reliever{Store: store, mode: s.mode}
	s.protocol = protocol.New(protocol.Config{
		Outside:  s.outside,
		Observer: observed{s},
		Parallel: fetches(s.cfg.Rate),
		AckWait:  topology.AckWait,
		Timing:   s.cfg.Timing,
		Log:      s.log,
		Room:     store.Room,
		Relief:   s.relief,
		Pause:    s.tracer.pause,
	})
	s.cover = &repair.Coverage{
		Store:     store,
		Mode:      s.mode,
		Marks:     s.cfg.Marks.Marks,
		Uncovered: func(n int) { s.metrics.uncovered.Add(float64(n)) },
		Rewoken:   func(n int) { s.metrics.rewoken.Add(float64(n)) },
	}
	catalog := &repair.FanOut{
		Store:  store,
		Mode:   s.mode,
		Settle: repair.ReadingEnds,
		Marked: func(n int) { s.metrics.fannedOut.Add(float64(n)) },
	}
	s.decider = &repair.Decider{
		Store: store, Protocol: s.protocol, Mode: s.mode, Log: s.log, Name: processName(),
	}
	s.jobs = []job{
		{name: "coverage", schedule: "@every " + s.cfg.CoverageEvery.String(), atOnce: true, run: s.cover.Run},
		{name: "recover", schedule: "@every " + timing.RecoverEvery.String(), atOnce: true, run: s.runRecover},
		{name: "fanout", schedule: "@every " + timing.FanOutEvery.String(), atOnce: true, run: catalog.Run},
		{name: jobDecide, schedule: "@every " + timing.DecideEvery.String(), atOnce: true, run: s.decider.Run},
		{name: "relief", schedule: "@every " + timing.ReliefEvery.String(), run: s.runRelief},
		{name: "sweep", schedule: sweepAt, run: s.runSweep},
	}
	for _, j := range s.jobs {
		s.metrics.jobs.WithLabelValues(j.name) // so that a job that never ends shows as ended 0 times
	}
	return nil
}
