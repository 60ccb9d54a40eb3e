// Package chaos runs a whole pipeline under faults, and then compares everything.
//
// A run is drawn from a seed. Customers of several accounts of a simulated Stripe buy, change,
// cancel and are deleted. Meanwhile Stripe's answers are slow, stale, refused, incomplete or
// missing; webhooks arrive twice, late, out of order or never; NATS restarts; connections break in
// the middle of a message; ingests and syncers crash and restart. An operator applies plans documents.
//
//	report, err := chaos.Run(ctx, chaos.Config{Server: server, For: 10 * time.Second, Seed: 1})
//
// A run has one or more laps. At the end of each the faults end, and when the pipeline is at rest
// the oracle compares every snapshot with the simulator's state, its decision with one of its own
// (decision.go), every webhook answered 2xx with STRIPE_EVENTS, byte for byte, the fetches behind
// consecutive revisions with each other, every event with the records, and a client that watched all
// the time with the bucket. On a [Cluster] it also compares the servers' replicas, and searches their
// logs for damage. The error of a run has the failure, the seed, and the story of the customer
// concerned.
//
// A seed repeats the actions and the faults in their order, but not the interleaving of goroutines,
// so a failure may need several runs of its seed to come back.
//
// Changes that no webhook reported are found as in production, by recover, fan-out and a sweep,
// before everything is compared. A change without an event cannot be found if no sweep shows it,
// because the customer has no subscription or features are read. Such a customer is marked once
// more, like by a replay, and the report counts it. A run has no lists that are older than the
// event that led to them ([stripesim.Faults].ReadLag): only the next event, wake or sweep makes up
// for those.
package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"entitled/internal/timing"
)

// Config configures a run. Server is required.
type Config struct {
	// Server is the pipeline's nats-server. It must be empty. On a [Cluster] everything has as many
	// replicas as there are servers, and the servers are killed, paused and isolated.
	Server Server
	// For is the time after which no new lap begins. Defaults to 3 s.
	For time.Duration
	// Lap is the time of faults before everything comes to rest and is compared. Defaults to 5 s,
	// or to For if that is less; 30 s on a Cluster.
	Lap time.Duration
	// Outage bounds the time for which servers of a Cluster are down. Defaults to 10 s.
	Outage time.Duration
	// Freight is the size in bytes of the events without customer in each lap, so that a log is
	// larger than a block of the file store. Defaults to 12 MB on a Cluster.
	Freight int
	// Seed determines everything that happens.
	Seed uint64
	// Customers is the final number of customers. Defaults to 200.
	Customers int
	// Ingests and Syncers are the numbers of processes. They default to 2 and 3.
	Ingests, Syncers int
	// Patience is how long markers may take after the end of the faults before their customers are
	// marked again. The marker of a killed syncer waits for 10 s, that of a customer that failed
	// often for minutes. Defaults to 30 s.
	Patience time.Duration
	// Timing has the pauses of the syncers. Defaults to [timing.Production].
	Timing timing.Timing
	// Lossy reports that a restart of Server may lose unsynced data, like a power failure: markers,
	// which only coverage restores.
	Lossy bool
	// Log receives each fault at level Debug. Defaults to no logging.
	Log *slog.Logger
	// Progress receives the report so far after each correct lap. Defaults to none.
	Progress func(Report)
}

// A Server is a nats-server with JetStream.
type Server interface {
	// URL is where clients connect, also after a restart.
	URL() string
	// Restart stops the server and starts it on the same store.
	Restart() error
}

// Run runs the pipeline and returns a report, with an error if anything was lost, stale or stuck.
// It ends early when ctx ends, with its error.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg.For = cmp.Or(cfg.For, 3*time.Second)
	if _, several := cfg.Server.(Cluster); several {
		cfg.Lap, cfg.Freight = cmp.Or(cfg.Lap, 30*time.Second), cmp.Or(cfg.Freight, 12_000_000)
	}
	cfg.Lap, cfg.Outage = min(cmp.Or(cfg.Lap, 5*time.Second), cfg.For), cmp.Or(cfg.Outage, 10*time.Second)
	cfg.Customers = cmp.Or(cfg.Customers, 200)
	cfg.Ingests, cfg.Syncers = cmp.Or(cfg.Ingests, 2), cmp.Or(cfg.Syncers, 3)
	cfg.Patience = cmp.Or(cfg.Patience, 30*time.Second)
	cfg.Log = cmp.Or(cfg.Log, silent())
	if cfg.Progress == nil {
		cfg.Progress = func(Report) {}
	}
	s, err := newStage(ctx, cfg)
	if err != nil {
		return Report{}, fmt.Errorf("chaos: %w", err)
	}
	defer s.close()
	for began := time.Now(); err == nil && (s.report.Laps == 0 || time.Since(began) < cfg.For); {
		err = s.lap(ctx, cfg.Lap)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("chaos with seed %d: %w", cfg.Seed, err)
	}
	return s.sum(), err
}

// lap is a storm, the calm after it, and the comparison of everything.
func (s *stage) lap(ctx context.Context, d time.Duration) error {
	if err := s.beginLap(ctx); err != nil {
		return err
	}
	s.carry(ctx)
	s.storm(ctx, d)
	err := s.calm(ctx)
	if err == nil {
		err = s.judge(ctx)
	}
	s.report.Laps++
	err = errors.Join(append(s.fleet.wrong(), err)...)
	if err == nil {
		s.cfg.Progress(s.sum())
	}
	return err
}

// dice returns a random source for one purpose, so that draws for one purpose do not shift those of
// another.
func dice(seed uint64, purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, purpose)) }
