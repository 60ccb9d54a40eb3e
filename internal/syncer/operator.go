package syncer

import (
	"context"
	"errors"
	"fmt"

	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// An Operator runs the syncers' jobs for a command: within the fleet's budget, in the bulk lane,
// beside running syncers. It needs the permissions of the NATS user ops.
type Operator struct {
	s *Syncer
}

// Operate opens the streams and buckets of a syncer's mode for an operator. The syncer is not run.
func (s *Syncer) Operate(ctx context.Context) (*Operator, error) {
	if err := topology.Ensure(ctx, s.js, s.assets); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return &Operator{s: s}, nil
}

// Backfill writes each customer whose snapshot differs from what Stripe lists, at about one request
// for 100 subscriptions. If it is interrupted, even killed, the next call within 6 hours resumes
// it. If features are read, which takes a request for each customer, it marks for a sync the
// customers that differ and those whose features were not read yet. It fails with
// [sweep.ErrCheckpointGone] if a customer that it had read was forgotten, so that it must start over,
// and with [sweep.ErrUnwritten], beside a whole report, if it left some customers out.
func (o *Operator) Backfill(ctx context.Context, opt sweep.Options) (sweep.Report, error) {
	return sweep.Backfill(ctx, o.s.sweeps(), opt)
}

// Sweep compares the bucket with what Stripe lists and marks, for a sync in the bulk lane, each
// customer that differs, or whose features were not read although a sync reads them.
func (o *Operator) Sweep(ctx context.Context, opt sweep.Options) (sweep.Report, error) {
	return o.s.sweep(ctx, opt)
}

func (s *Syncer) sweep(ctx context.Context, opt sweep.Options) (sweep.Report, error) {
	report, err := sweep.Compare(ctx, s.sweeps(), opt)
	s.metrics.drift.Add(float64(report.Drift))
	return report, err
}

func (s *Syncer) sweeps() sweep.Config {
	return sweep.Config{
		Protocol: s.protocol, Store: s.store, Log: s.log, Mode: s.mode, Rewake: s.cover.RewakeFor,
	}
}

// runSweep is the nightly job: it sweeps one's own account, then each connected account that has a
// snapshot. A connected account that Stripe refuses, for example because its owner disconnected it,
// does not stop the others. Before, it removes abandoned checkpoints, and decides the
// snapshots that are not decided under the plans document in force, for whatever reason.
func (s *Syncer) runSweep(ctx context.Context, _ bool) error {
	if err := sweep.DropAbandoned(ctx, s.store, s.mode, s.protocol.Now()); err != nil {
		s.log.Warn("could not remove abandoned backfills, trying again the next night", "err", err)
	}
	if err := s.decider.All(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	accounts, err := s.store.ConnectedAccounts(ctx, s.mode)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var swept store.Swept
	for _, account := range append([]string{""}, accounts...) {
		report, err := s.sweep(ctx, sweep.Options{Account: account})
		if _, refused := errors.AsType[*stripeapi.Error](err); refused && account != "" {
			s.log.Warn("connected account not swept, trying again the next night", "account", account, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		s.log.Info("swept", "account", account, "customers", report.Customers, "subscriptions", report.Subscriptions,
			"requests", report.Requests, "drift", report.Drift, "drifted", report.Drifted,
			"unread", report.Unread, "unlisted", report.Unlisted)
		swept.Subscriptions += report.Subscriptions
		swept.Drift += report.Drift
	}
	swept.Ended = s.protocol.Now().UTC()
	if err := store.SweptEntry(s.store.State, s.mode).Put(ctx, swept); err != nil {
		s.log.Warn("could not note the result of the sweep for the console", "err", err)
	}
	return nil
}
