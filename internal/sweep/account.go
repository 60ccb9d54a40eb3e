package sweep

import (
	"context"
	"log/slog"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
)

// A Config is what every sweep of a mode needs.
type Config struct {
	Protocol *protocol.Protocol
	Store    *store.Store
	Log      *slog.Logger
	Mode     entitlement.Mode
	// Rewake restores the wake of a customer whose snapshot is unchanged.
	Rewake func(ctx context.Context, c stripeevent.Customer, s *entitlement.Snapshot) error
}

// Options say which account to sweep.
type Options struct {
	// Account is a connected account, empty for one's own.
	Account string
	// Restart discards what an interrupted backfill has read.
	Restart bool
	// Progress, if not nil, is called with the report so far, from one goroutine at a time.
	Progress func(Report)
}

// Backfill writes each customer whose snapshot differs from what Stripe lists. If it is
// interrupted, even killed, the next call within resumeWithin resumes it. It fails with
// [ErrCheckpointGone] if a customer that it had read was forgotten, and with [ErrUnwritten], beside
// a whole report, if NATS refuses the size of some snapshots.
func Backfill(ctx context.Context, cfg Config, opt Options) (Report, error) {
	key := checkpointKey(cfg.Mode, opt.Account)
	c, err := openCheckpoint(ctx, cfg.Store, key, opt.Restart, cfg.Protocol.Now())
	if err != nil {
		return Report{Account: opt.Account}, err
	}
	s := newSweep(cfg, opt)
	s.write, s.trigger, s.fence = true, stripeevent.TriggerBackfill, c.plan.Fence
	l := s.listing(stripeevent.Bulk)
	l.keeper = c
	l.resumed = func(pages int) {
		s.report(func(d *Report) {
			if d.Resumed = pages; pages > 0 {
				d.Began = c.plan.Started
			}
		})
	}
	report, err := s.run(ctx, l)
	if err != nil {
		return report, err
	}
	if err := c.close(ctx); err != nil {
		return report, err
	}
	return report, report.unwritten()
}

// Compare marks each customer whose snapshot differs from what Stripe lists, for a sync in the bulk
// lane.
func Compare(ctx context.Context, cfg Config, opt Options) (Report, error) {
	s := newSweep(cfg, opt)
	s.trigger = stripeevent.TriggerSweep
	var err error
	if s.fence, err = cfg.Store.ReadFence(ctx); err != nil {
		return Report{Account: opt.Account}, err
	}
	return s.run(ctx, s.listing(stripeevent.Bulk))
}

// Relieve writes each dirty customer of one's own account, even if unchanged, and removes its
// markers up to end. It takes its permits in the given lane. Like a backfill it may fail with
// [ErrUnwritten] beside a whole report.
func Relieve(ctx context.Context, cfg Config, lane stripeevent.Lane, end store.MarkersEnd) (Report, error) {
	s := newSweep(cfg, Options{})
	s.write, s.trigger, s.end = true, stripeevent.TriggerSweep, end
	// An unchanged customer has its wake, and coverage restores lost ones: this saves a read for
	// each customer.
	s.rewake = func(context.Context, stripeevent.Customer, *entitlement.Snapshot) error { return nil }
	var err error
	if s.dirty, err = cfg.Store.DirtyIDs(ctx, cfg.Mode); err != nil {
		return Report{}, err
	}
	if s.fence, err = cfg.Store.ReadFence(ctx); err != nil {
		return Report{}, err
	}
	report, err := s.run(ctx, s.listing(lane))
	if err != nil {
		return report, err
	}
	return report, report.unwritten()
}

func newSweep(cfg Config, opt Options) *sweep {
	return &sweep{
		Protocol: cfg.Protocol,
		store:    cfg.Store,
		log:      cfg.Log,
		mode:     cfg.Mode,
		account:  opt.Account,
		rewake:   cfg.Rewake,
		progress: opt.Progress,
		done:     Report{Account: opt.Account},
	}
}

// listing reads the account, with permits of a lane.
func (s *sweep) listing(lane stripeevent.Lane) *listing {
	return &listing{list: &accountReader{
		Store:   s.store,
		log:     s.log,
		account: s.account,
		permit:  func(ctx context.Context) error { return s.store.TakePermit(ctx, protocol.KindOf(lane)) },
	}}
}
