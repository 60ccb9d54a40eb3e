package syncer

import (
	"context"
	"errors"
	"fmt"

	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An Operator does by hand what syncers do by themselves, for a command: within the fleet's budget, in the bulk lane, beside
// running syncers. It needs the rights of the NATS user ops.
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

// SweepOptions say what to sweep.
type SweepOptions struct {
	// Account is a connected account, empty for one's own.
	Account string
	// Restart says to forget what an interrupted backfill has read.
	Restart bool
	// Progress, if not nil, is told how far it is, from one goroutine at a time.
	Progress func(SweepReport)
}

// Backfill brings the bucket to what Stripe lists: it writes each customer that differs, at about one request for 100
// subscriptions. Interrupted, even killed, it goes on where it was when it is called again within 6 hours. Where features are read,
// which takes a request for each customer, those that differ, and those whose features were not read yet, are marked for a sync instead. The error is [ErrPolicy] if the syncers
// make other snapshots of the same customers, [ErrCheckpointGone] if one of those it had read was forgotten: then it starts over, and
// [ErrUnwritten], beside a whole report, if it had to leave some out.
func (o *Operator) Backfill(ctx context.Context, opt SweepOptions) (SweepReport, error) {
	s := o.s
	// It may begin the mode: then the syncers that come later must have its policy.
	if err := s.takePolicy(ctx, "this command"); err != nil {
		return SweepReport{Account: opt.Account}, err
	}
	c, err := s.store.openCheckpoint(ctx, checkpointKey(s.mode, opt.Account), s.policy(), opt.Restart, s.protocol.now())
	if err != nil {
		return SweepReport{Account: opt.Account}, err
	}
	sw := s.newSweep(opt)
	sw.write, sw.trigger, sw.fence = true, stripeevent.TriggerBackfill, c.plan.Fence
	r := s.newReading(opt.Account, stripeevent.Bulk)
	r.keep, r.planned = c.keep, c.planned
	r.resume = func(ctx context.Context) error {
		n, err := c.restore(ctx, r)
		sw.report(func(d *SweepReport) {
			if d.Resumed = n; n > 0 {
				d.Began = c.plan.Started
			}
		})
		return err
	}
	report, err := sw.run(ctx, r)
	if err != nil {
		return report, err
	}
	if err := c.close(ctx); err != nil {
		return report, err
	}
	return report, report.unwritten()
}

// Sweep compares the bucket with what Stripe lists and marks, for a sync in the bulk lane, each customer that differs, or
// whose features were not read although the policy is to read them. The error is
// [ErrPolicy] as for Backfill.
func (o *Operator) Sweep(ctx context.Context, opt SweepOptions) (SweepReport, error) {
	if err := o.s.agree(ctx); err != nil {
		return SweepReport{Account: opt.Account}, err
	}
	return o.s.sweep(ctx, opt)
}

func (s *Syncer) sweep(ctx context.Context, opt SweepOptions) (SweepReport, error) {
	sw := s.newSweep(opt)
	sw.trigger = stripeevent.TriggerSweep
	var err error
	if sw.fence, err = s.store.readFence(ctx); err != nil {
		return SweepReport{Account: opt.Account}, err
	}
	report, err := sw.run(ctx, s.newReading(opt.Account, stripeevent.Bulk))
	s.metrics.drift.Add(float64(report.Drift))
	return report, err
}

func (s *Syncer) newSweep(opt SweepOptions) *sweep {
	return &sweep{
		protocol: s.protocol,
		store:    s.store,
		log:      s.log,
		mode:     s.mode,
		account:  opt.Account,
		rewake:   s.cover.rewakeFor,
		progress: opt.Progress,
		done:     SweepReport{Account: opt.Account},
	}
}

func (s *Syncer) newReading(account string, lane stripeevent.Lane) *listing {
	return &listing{list: &accountReader{
		store:   s.store,
		log:     s.log,
		account: account,
		policy:  s.cfg.Policy,
		place:   func(ctx context.Context) error { return s.store.Place(ctx, kindOf(lane)) },
	}}
}

// runSweep is the nightly job: one's own account, then each connected one that has a snapshot. One that Stripe does not let
// be read, say since its owner has disconnected it, keeps nobody from the others. Before that it removes what abandoned backfills have left.
func (s *Syncer) runSweep(ctx context.Context, _ bool) error {
	if err := s.store.dropAbandoned(ctx, s.mode, s.protocol.now()); err != nil {
		s.log.Warn("what abandoned backfills have read is not removed, it is tried again the next night", "err", err)
	}
	accounts, err := s.store.connectedAccounts(ctx, s.mode)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, account := range append([]string{""}, accounts...) {
		report, err := s.sweep(ctx, SweepOptions{Account: account})
		if _, refused := errors.AsType[*stripeapi.Error](err); refused && account != "" {
			s.log.Warn("connected account not swept, it is tried again the next night", "account", account, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		s.log.Info("swept", "account", account, "customers", report.Customers, "subscriptions", report.Subscriptions,
			"requests", report.Requests, "drift", report.Drift, "drifted", report.Drifted, "unread", report.Unread, "unlisted", report.Unlisted)
	}
	return nil
}
