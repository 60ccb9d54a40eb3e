package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An overwrite is one customer's write by a sweep, over the revision it was compared with.
type overwrite struct {
	*group
	next entitlement.Snapshot
	// tooLarge says that no part of it that could be left out makes it fit.
	tooLarge error
	// cur is what it was compared with, and is written over.
	cur     current
	outcome Outcome
	changed []string
	// markers are those that it settles: their sequences in STRIPE_SYNC.
	markers []uint64
	// revision is the one written, latest the customer's record before it.
	revision uint64
	latest   recordHead
}

// overwrite writes many customers side by side: one after the other they would wait for the server's disk each time.
func (s *sweep) overwrite(ctx context.Context, writes []*overwrite) error {
	acks := make([]jetstream.PubAckFuture, len(writes))
	for i, w := range writes {
		if w.tooLarge != nil {
			s.leaveOut(w, w.tooLarge)
			continue
		}
		var err error
		acks[i], err = s.store.js.PublishMsgAsync(s.store.bucket.message(w.customer.Key(), w.next.Encode()),
			jetstream.WithExpectLastSequencePerSubject(w.cur.revision), jetstream.WithStallWait(stall))
		if err != nil {
			return fmt.Errorf("write snapshot of %s: %w", w.customer, err)
		}
	}
	written := writes[:0:0]
	for i, w := range writes {
		if acks[i] == nil {
			continue
		}
		ack, err := s.store.acked(ctx, acks[i])
		switch err = sized(err, s.store.bucketStream()); {
		case isConflict(err):
			s.conflicted()
			if err := s.overtaken(ctx, w.group); err != nil {
				return err
			}
		case errors.Is(err, errTooLarge):
			s.leaveOut(w, err)
		case err != nil:
			return fmt.Errorf("write snapshot of %s over revision %d: %w", w.customer, w.cur.revision, err)
		default:
			w.revision = ack.Sequence
			written = append(written, w)
		}
	}
	return s.finish(ctx, written)
}

// stall bounds the wait for a place among the publishes that are not acknowledged.
const stall = 10 * time.Second

// finish does what follows a write: the customer's next check, and the record; then its own syncs have not failed, and its markers
// are done.
func (s *sweep) finish(ctx context.Context, written []*overwrite) error {
	if len(written) == 0 {
		return nil
	}
	err := eachOf(ctx, written, func(ctx context.Context, w *overwrite) (err error) {
		if w.cur.there {
			err = s.wake(ctx, w.customer, w.next, w.revision)
		} else {
			err = s.firstWake(ctx, w)
		}
		if err != nil {
			return err
		}
		if w.latest, err = s.LatestRecord(ctx, w.customer); err != nil {
			return fmt.Errorf("read the latest record of %s: %w", w.customer, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	acks := make([]jetstream.PubAckFuture, len(written))
	for i, w := range written {
		acks[i], err = s.store.js.PublishAsync(stripeevent.SyncedSubject(w.customer), s.recordOf(w).encode(), jetstream.WithStallWait(stall))
		switch err = sized(err, topology.SyncedStream); {
		case errors.Is(err, errTooLarge):
			s.leaveOut(w, fmt.Errorf("record of it: %w", err))
		case err != nil:
			return fmt.Errorf("record the sync of %s: %w", w.customer, err)
		}
	}
	recorded := written[:0:0]
	for i, w := range written {
		if acks[i] == nil {
			continue
		}
		_, err := s.store.acked(ctx, acks[i])
		switch err = sized(err, topology.SyncedStream); {
		case errors.Is(err, errTooLarge):
			s.leaveOut(w, fmt.Errorf("record of it: %w", err))
		case err != nil:
			return fmt.Errorf("record the sync of %s: %w", w.customer, err)
		default:
			s.count(w)
			recorded = append(recorded, w)
		}
	}
	written = recorded
	// The last sync of one with a marker may have failed since failing was read, and nobody else will be handed that marker.
	failed := slices.DeleteFunc(slices.Clone(written), func(w *overwrite) bool {
		_, failing := s.failing[stripeevent.ParkedKey(w.customer)]
		return !failing && len(w.markers) == 0
	})
	if err := eachOf(ctx, failed, func(ctx context.Context, w *overwrite) error { return s.unpark(ctx, task{customer: w.customer}) }); err != nil {
		return err
	}
	s.removeMarkers(ctx, written)
	return nil
}

// removeMarkers spares the syncers the markers that records say are done: one that stays is acknowledged for its record. So what keeps a
// marker from being removed ends nothing, and is not tried again in this sweep.
func (s *sweep) removeMarkers(ctx context.Context, written []*overwrite) {
	written = slices.DeleteFunc(written, func(w *overwrite) bool { return len(w.markers) == 0 })
	if len(written) == 0 || s.kept.Load() {
		return
	}
	hint := "may this NATS user publish to $JS.API.STREAM.MSG.DELETE." + topology.SyncStream + "? nats.conf of this version lets it"
	err := s.end.still(ctx, s.store)
	if errors.Is(err, errMadeAnew) {
		hint = "nothing to do: coverage marks again whoever needs it"
	} else if err == nil {
		err = eachOf(ctx, written, func(ctx context.Context, w *overwrite) error {
			for _, seq := range w.markers {
				// Acknowledged or replaced meanwhile, it is not there.
				if err := s.store.sync.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
					return fmt.Errorf("remove marker %d of %s: %w", seq, w.customer, err)
				}
			}
			return nil
		})
	}
	if err != nil && ctx.Err() == nil && s.kept.CompareAndSwap(false, true) {
		s.log.Warn("settled markers are left to the syncers, which takes longer", "err", err, "hint", hint)
	}
}

// eachOf does something with every one of them, several side by side.
func eachOf(ctx context.Context, all []*overwrite, do func(ctx context.Context, w *overwrite) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	for _, w := range all {
		g.Go(func() error { return do(gctx, w) })
	}
	return g.Wait()
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
		Trigger: s.trigger,
		// A later sync may have recorded before; what it covers stays covered.
		EventsSeq:        max(s.fence.EventsSeq, w.latest.EventsSeq),
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
	// The write before may have left no record; then this one has the content.
	if w.outcome != Unchanged || w.latest.Revision != w.cur.revision {
		r.Snapshot = &w.next
	}
	if len(w.markers) > 0 {
		r.MarkerSeq, r.ReceivedAt = s.end.Seq, &s.end.At
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

// ackWithin bounds the wait for a PubAck. Of itself nats.go waits for ever: one that was lost with its leader never comes.
const ackWithin = 5 * time.Second

// acked waits for a PubAck.
func (s *store) acked(ctx context.Context, f jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	late := time.NewTimer(s.ackWithin)
	defer late.Stop()
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-late.C:
		return nil, fmt.Errorf("no PubAck within %s", s.ackWithin)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
