package syncer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// An overwrite is one customer's write by a sweep, over the revision it was compared with.
type overwrite struct {
	*group
	next     entitlement.Snapshot
	cur      *entitlement.Snapshot
	over     uint64
	outcome  Outcome
	changed  []string
	dirty    bool
	revision uint64
}

// overwrite writes many customers side by side: one after the other they would wait for the server's disk each time.
func (s *sweep) overwrite(ctx context.Context, writes []*overwrite) error {
	acks := make([]jetstream.PubAckFuture, len(writes))
	for i, w := range writes {
		var err error
		subject := "$KV." + s.store.bucket.Bucket() + "." + w.customer.Key()
		acks[i], err = s.store.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: w.next.Encode(), Header: nats.Header{}},
			jetstream.WithExpectLastSequencePerSubject(w.over), jetstream.WithStallWait(stall))
		if err != nil {
			return fmt.Errorf("write snapshot of %s: %w", w.customer, err)
		}
	}
	written := writes[:0:0]
	for i, w := range writes {
		ack, err := acked(ctx, acks[i])
		switch {
		case isConflict(err):
			s.conflicted()
			if err := s.overtaken(ctx, w.group); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("write snapshot of %s over revision %d: %w", w.customer, w.over, err)
		default:
			w.revision = ack.Sequence
			written = append(written, w)
		}
	}
	return s.finish(ctx, written)
}

// stall bounds the wait for a place among the publishes that are not acknowledged.
const stall = 10 * time.Second

// finish does what follows a write: the customer's next check, and the record.
func (s *sweep) finish(ctx context.Context, written []*overwrite) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	for _, w := range written {
		g.Go(func() error {
			if w.cur != nil || w.over != 0 {
				return s.wake(gctx, w.customer, w.next, w.revision)
			}
			return s.firstWake(gctx, w)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	acks := make([]jetstream.PubAckFuture, len(written))
	for i, w := range written {
		var err error
		acks[i], err = s.store.js.PublishAsync(stripeevent.SyncedSubject(w.customer), s.recordOf(w).encode(), jetstream.WithStallWait(stall))
		if err != nil {
			return fmt.Errorf("record the sync of %s: %w", w.customer, err)
		}
	}
	for i, w := range written {
		if _, err := acked(ctx, acks[i]); err != nil {
			return fmt.Errorf("record the sync of %s: %w", w.customer, err)
		}
		s.count(w)
	}
	return nil
}

// firstWake schedules the next check of a customer that had no snapshot before. If it has a schedule, a sync that
// came after the write set it.
func (s *sweep) firstWake(ctx context.Context, w *overwrite) error {
	at, ok := wakeAt(&w.next, s.policy, s.now())
	if !ok {
		return nil
	}
	_, err := s.store.js.PublishMsg(ctx, wakeMessage(w.customer, at), jetstream.WithExpectLastSequencePerSubject(0))
	if isConflict(err) {
		return s.rewake(ctx, w.customer, &w.next)
	}
	if err != nil {
		return fmt.Errorf("schedule the next check of %s: %w", w.customer, err)
	}
	return nil
}

func (s *sweep) recordOf(w *overwrite) Record {
	r := Record{
		Trigger:          s.trigger,
		EventsSeq:        s.fence.EventsSeq,
		StartedAt:        w.asOf,
		AsOf:             w.asOf,
		DurationMS:       s.now().Sub(w.asOf).Milliseconds(),
		StripeRequests:   len(w.requestIDs),
		StripeRequestIDs: w.requestIDs,
		Outcome:          w.outcome,
		Revision:         w.revision,
		Changed:          w.changed,
		Cause:            w.next.Cause,
	}
	if r.StripeRequestIDs == nil {
		r.StripeRequestIDs = []string{}
	}
	if w.outcome != Unchanged {
		r.Snapshot = &w.next
	}
	if w.dirty {
		r.MarkerSeq, r.ReceivedAt = s.markers, &s.markersAt
	}
	return r
}

func (s *sweep) count(w *overwrite) {
	s.report(func(d *SweepReport) {
		switch w.outcome {
		case Created:
			d.Created++
		case Deleted:
			d.Deleted++
		case Unchanged:
			d.Unchanged++
		default:
			d.Changed++
		}
	})
}

// acked waits for a PubAck.
func acked(ctx context.Context, f jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
