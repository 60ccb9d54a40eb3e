// Package chaos lets a whole pipeline live through everything that goes wrong, and then compares everything.
//
// A run is drawn from a seed: customers of several accounts of a simulated Stripe buy, change, cancel and are deleted,
// while Stripe's answers are slow, stale, refused, torn or no answers at all, webhooks come twice, late, out of order or
// never, NATS restarts, connections break in the middle of a word, and ingests and syncers crash and come back.
//
//	report, err := chaos.Run(ctx, chaos.Config{Server: server, For: 10 * time.Second, Seed: 1})
//
// A run is one or more laps. At the end of each the faults end, and when all is quiet the oracle compares every snapshot
// with the simulator's truth, every webhook answered 2xx with STRIPE_EVENTS, byte for byte, the fetches behind the
// revisions with one another, every event with the records, and a client that watched all the time with the bucket; on a
// [Cluster] also the servers' replicas with one another, and their logs tell of no damage. The
// error of a run says what is wrong, the seed, and the story of the customer concerned.
//
// What a seed repeats is what is done and what goes wrong, in which order, not how the goroutines meet: a failure may need
// several runs of its seed to come back.
//
// What no webhook told is found as it is in production, by recover, fan-out and a sweep, before everything is compared. What
// is not promised is not asked for: a change that no event tells of is known to nobody if no sweep shows it, where a customer
// has no subscription or where features are read; such a customer is marked once more, as a replay does, and the report counts
// how many were. Lists that tell an older state than the event that led to them ([stripesim.Faults].ReadLag) are not part of a
// run: only the next event, wake or sweep makes up for those.
package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Config says what a run is. Server is required.
type Config struct {
	// Server is the nats-server that the pipeline runs on. It must be empty. On a [Cluster] everything has as many replicas as there
	// are servers, and these die, are paused and are cut off.
	Server Server
	// For is after how long no more laps begin. Defaults to 3 s.
	For time.Duration
	// Lap is for how long things break before everything comes to rest and is compared. Defaults to 5 s, or For if that
	// is less. On a Cluster it is 30 s.
	Lap time.Duration
	// Outage is how long servers of a Cluster are away at most. Defaults to 10 s.
	Outage time.Duration
	// Freight is how many bytes of events of no customer come in each lap, so that a log is larger than a block of the file store.
	// Defaults to 12 MB on a Cluster.
	Freight int
	// Seed draws all that happens.
	Seed uint64
	// Customers is how many there are in the end. Defaults to 200.
	Customers int
	// Ingests and Syncers are how many of each run. Default to 2 and 3.
	Ingests, Syncers int
	// Patience is how long markers may take to be done after the end of the faults before those who wait are marked again:
	// a marker that a dead syncer held waits for 10 s, one of a customer that failed often for minutes. Defaults to 30 s.
	Patience time.Duration
	// Lossy says that a restart of Server may lose what it had not synced, as a power failure does: markers, which only
	// coverage brings back.
	Lossy bool
	// Log is told of each fault, at level Debug. Defaults to silence.
	Log *slog.Logger
	// Progress is told what the run did so far, after each lap that was right. Defaults to nobody.
	Progress func(Report)
}

// A Server is a nats-server with JetStream.
type Server interface {
	// URL is where clients connect, also after a restart.
	URL() string
	// Restart stops the server and starts it on the same store.
	Restart() error
}

// Run lives through a run and returns what it did, with an error if anything was lost, stale or stuck. It ends early when
// ctx does, with ctx's error.
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

// lap is a storm, the calm after it and the comparison of everything.
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

// dice draws for one purpose, so that what is drawn for one does not shift another.
func dice(seed uint64, purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, purpose)) }
