package repair

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// wakesOfRecent restores the wakes of customers synced so recently that a crash of the server may
// have lost them.
func (c *Coverage) wakesOfRecent(ctx context.Context) error {
	since := time.Now().Add(-wakeDoubt)
	recent := make(map[stripeevent.Customer]struct{})
	log := streams.Messages(ctx, c.JS, streams.Reading{
		Stream: topology.SyncedStream, Subjects: []string{"stripe.synced." + string(c.Mode) + ".>"},
		Since: since, HeadersOnly: true,
	})
	for msg, err := range log {
		if err != nil {
			return err
		}
		if customer, err := stripeevent.ParseSyncedSubject(msg.Subject); err == nil {
			recent[customer] = struct{}{}
		}
		if len(recent) == checkedAtOnce {
			if err := c.rewakeThese(ctx, recent); err != nil {
				return err
			}
			clear(recent)
		}
	}
	return c.rewakeThese(ctx, recent)
}

func (c *Coverage) rewakeThese(ctx context.Context, customers map[stripeevent.Customer]struct{}) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(store.ParallelReads)
	for customer := range customers {
		g.Go(func() error {
			data, _, err := c.Snapshot(gctx, customer.Key())
			if err != nil || data == nil {
				return err
			}
			return c.rewake(gctx, customer, data)
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("restore wakes: %w", err)
	}
	return nil
}

// wakesOfAll restores the wake of every snapshot, after STRIPE_SYNC lost messages. It streams the
// bucket.
func (c *Coverage) wakesOfAll(ctx context.Context) error {
	each := func(ctx context.Context, customer stripeevent.Customer, data []byte, _ uint64) error {
		return c.rewake(ctx, customer, data)
	}
	if err := c.EachSnapshot(ctx, c.Mode, store.Everyone, each); err != nil {
		return fmt.Errorf("restore wakes: %w", err)
	}
	return nil
}

// rewake is RewakeFor for an encoded snapshot.
func (c *Coverage) rewake(ctx context.Context, customer stripeevent.Customer, data []byte) error {
	s, err := entitlement.Decode(data)
	if err != nil {
		return nil // its next sync replaces it, and sets the wake
	}
	return c.RewakeFor(ctx, customer, &s)
}

// RewakeFor schedules the next check of a customer with this snapshot if none is scheduled, or only
// a later one.
func (c *Coverage) RewakeFor(ctx context.Context, customer stripeevent.Customer, s *entitlement.Snapshot) error {
	at, ok := plans.NextLook(s, time.Now())
	if !ok {
		return nil // an unneeded wake costs one sync, which removes it
	}
	switch m, err := streams.Last(ctx, c.Store.Sync, stripeevent.WakeSubject(customer)); {
	case err != nil:
		return fmt.Errorf("look for the wake of %s: %w", customer, err)
	case m != nil && !later(m.Header.Get(jetstream.ScheduleHeader), at):
		return nil
	}
	// A wake that was due a moment ago has become a marker; then this one is not needed, and
	// harmless.
	if err := c.SetWake(ctx, customer, at); err != nil {
		return fmt.Errorf("schedule the next check of %s: %w", customer, err)
	}
	c.Rewoken(1)
	return nil
}

// later reports whether a schedule fires after at, or never.
func later(schedule string, at time.Time) bool {
	t, err := time.Parse("@at "+time.RFC3339Nano, schedule)
	return err != nil || t.After(at)
}
