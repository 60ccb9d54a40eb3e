package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/syncer"
	"entitled/internal/timing"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// jobs are a syncer's jobs. A run starts each more often than it is due.
var jobs = []string{"coverage", "recover", "fanout", "decide", "relief", "sweep"}

// start starts a job on some syncer, as if it were due.
func (s *stage) start(ctx context.Context, job string) error {
	if _, err := s.js.Publish(ctx, stripeevent.JobSubject(mode, job), nil); err != nil {
		return fmt.Errorf("start the job %s: %w", job, err)
	}
	return nil
}

// operate returns an operator that does for connected accounts what the jobs do for the platform's
// own.
func (s *stage) operate(ctx context.Context, nc *nats.Conn) (*syncer.Operator, error) {
	cfg := s.syncer
	cfg.NATS = nc
	// It recovers events after all webhooks were delivered: none is on the way.
	cfg.Timing = cmp.Or(cfg.Timing, timing.Production)
	cfg.Timing.OnTheWay = 0
	desk, err := syncer.New(cfg)
	if err != nil {
		return nil, err
	}
	return desk.Operate(ctx)
}

// makeGood finds changes that no webhook reported: it recovers missing events from Stripe's list,
// and a sweep compares all subscriptions. Every customer with a subscription must be right
// afterwards.
func (s *stage) makeGood(ctx context.Context) error {
	o, err := s.operate(ctx, s.nc)
	if err != nil {
		return fmt.Errorf("open an operator's desk: %w", err)
	}
	// An event may be listed late, and is then found in the next run.
	if err := poll(ctx, restWithin, func() error {
		if time.Since(s.calmSince) <= listedWithin {
			return errors.New("events may still be listed late")
		}
		return nil
	}); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, account := range distinct(accounts) {
		g.Go(func() error {
			if _, err := o.Recover(gctx, account, s.lapBegan); err != nil {
				return fmt.Errorf("recover the events of account %q: %w", account, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.start(ctx, "fanout"); err != nil {
		return err
	}
	if err := s.rest(ctx); err != nil {
		return err
	}
	for _, account := range distinct(accounts) {
		report, err := o.Sweep(ctx, sweep.Options{Account: account})
		if err != nil {
			return fmt.Errorf("sweep account %q: %w", account, err)
		}
		s.report.Swept += report.Marked + report.Unlisted
	}
	return s.rest(ctx)
}

// allListed: every event of the lap that Stripe still lists is in the log.
func (s *stage) allListed(ctx context.Context) error {
	stored := map[string]bool{}
	if err := s.messages(ctx, topology.EventsStream, "stripe.event.>", 1, func(m streams.Message) error {
		stored[m.Header.Get(jetstream.MsgIDHeader)] = true
		return nil
	}); err != nil {
		return err
	}
	listedFrom := s.sim.Now().Add(-30 * 24 * time.Hour)
	for _, account := range distinct(accounts) {
		for _, e := range s.account(account).Events() {
			if e.Created.Unix() < s.lapBegan.Unix() || !e.Created.After(listedFrom) {
				continue
			}
			if id := stripeevent.MsgID(account, e.ID); !stored[id] {
				return fmt.Errorf("%s, %s, is in Stripe's list and not in STRIPE_EVENTS, after recover", id, e.Type)
			}
		}
	}
	return nil
}

// bulk runs a backfill of an account beside the syncers for a moment. It may be interrupted.
func (s *stage) bulk(ctx context.Context, account string, d time.Duration) {
	if !s.busy.CompareAndSwap(false, true) {
		return
	}
	// The simulator's log no longer has the requests of an interrupted backfill of an earlier lap.
	restart := s.bulks == 0
	s.bulks++
	s.report.Backfills++
	s.desks.Go(func() { // calm waits for it
		defer s.busy.Store(false)
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		// Failures and interruptions are intended here.
		if o, err := s.operate(ctx, s.nc); err == nil {
			_, _ = o.Backfill(ctx, sweep.Options{Account: account, Restart: restart})
		}
	})
}

// flood marks every customer, like a replay, so that a relief is cheaper than the syncs.
func (s *stage) flood(ctx context.Context) error {
	for _, p := range s.life.people {
		body := stripeevent.EncodeMarker(replayed)
		if _, err := s.js.PublishAsync(stripeevent.SyncSubject(stripeevent.Bulk, p.customer), body); err != nil {
			return fmt.Errorf("mark %s: %w", p.customer, err)
		}
	}
	return s.start(ctx, "relief")
}

// listed reports whether a list of all subscriptions shows a customer completely.
func (s *stage) listed(c stripeevent.Customer) bool {
	t, ok := s.account(c.Account).Truth(c.ID)
	return ok && !s.readsFeatures(c.Account) && !t.Customer.Deleted && len(t.Subscriptions) > 0
}

func distinct(all []string) []string { return slices.Compact(slices.Sorted(slices.Values(all))) }

// catalog renames prices, which must reach the customers that have them.
func (l *life) catalog(a *stripesim.Account) {
	price := prices[l.rng.IntN(len(prices))]
	_ = a.UpdatePrice(price, fmt.Sprintf("%s_%d", price, l.rng.IntN(3)), true)
}
