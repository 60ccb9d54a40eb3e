package syncer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// wakesOfRecent restores the wakes of customers synced so lately that a crash of the server may have lost them.
func (c *coverage) wakesOfRecent(ctx context.Context) error {
	since := time.Now().Add(-wakeDoubt)
	log, err := c.openLog(ctx, topology.SyncedStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"stripe.synced." + string(c.mode) + ".>"},
		DeliverPolicy:  jetstream.DeliverByStartTimePolicy,
		OptStartTime:   &since,
		HeadersOnly:    true,
	})
	if err != nil {
		return err
	}
	for {
		msgs, err := log.next(ctx)
		if err != nil || len(msgs) == 0 {
			return err
		}
		recent := make(map[stripeevent.Customer]struct{})
		for _, msg := range msgs {
			if customer, err := stripeevent.ParseSyncedSubject(msg.Subject()); err == nil {
				recent[customer] = struct{}{}
			}
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(parallelReads)
		for customer := range recent {
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
	}
}

// wakesOfAll restores the wake of every snapshot, after STRIPE_SYNC lost what it held. It streams the bucket and holds
// none of it.
func (c *coverage) wakesOfAll(ctx context.Context) error {
	err := c.eachSnapshot(ctx, c.mode, everybody, func(ctx context.Context, customer stripeevent.Customer, data []byte, _ uint64) error {
		return c.rewake(ctx, customer, data)
	})
	if err != nil {
		return fmt.Errorf("restore wakes: %w", err)
	}
	return nil
}

// rewake sets the customer's wake if it is not as the snapshot in data has it.
func (c *coverage) rewake(ctx context.Context, customer stripeevent.Customer, data []byte) error {
	s, err := entitlement.Decode(data)
	if err != nil {
		return nil // its next sync overwrites it, and wakes it
	}
	return c.rewakeFor(ctx, customer, &s)
}

func (c *coverage) rewakeFor(ctx context.Context, customer stripeevent.Customer, s *entitlement.Snapshot) error {
	at, ok := wakeAt(s, c.policy, time.Now())
	if !ok {
		return nil // one too many costs a sync; that sync removes it
	}
	switch m, err := c.store.sync.GetLastMsgForSubject(ctx, stripeevent.WakeSubject(customer)); {
	case err == nil && !later(m.Header.Get(jetstream.ScheduleHeader), at):
		return nil
	case err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
		return fmt.Errorf("read the wake of %s: %w", customer, err)
	}
	// A wake that was due a moment ago has become a marker; setting the next one is then not needed, and harmless.
	if err := c.SetWake(ctx, customer, at); err != nil {
		return fmt.Errorf("schedule the next check of %s: %w", customer, err)
	}
	c.rewoken(1)
	return nil
}

// later reports whether a schedule fires after at, or never.
func later(schedule string, at time.Time) bool {
	t, err := time.Parse("@at "+time.RFC3339Nano, schedule)
	return err != nil || t.After(at)
}
