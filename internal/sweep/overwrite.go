package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

// An overwrite is a sweep's write of one customer, over the revision it was compared with.
type overwrite struct {
	*group
	next entitlement.Snapshot
	// tooLarge is not nil if next is too large even without the parts that may be left out.
	tooLarge error
	// cur is the entry that it was compared with and replaces.
	cur protocol.Current
	// unasked says that next has no entitlements because the Stripe account has no feature.
	unasked bool
	outcome record.Outcome
	changed []string
	// markers are the sequences in STRIPE_SYNC of the markers that it settles.
	markers []uint64
	// revision is the revision written; latest is the customer's record before it.
	revision uint64
	latest   record.Head
}

// overwrite writes many customers concurrently: one at a time, each would wait for the server's
// disk.
func (s *sweep) overwrite(ctx context.Context, writes []*overwrite) error {
	acks := make([]jetstream.PubAckFuture, len(writes))
	for i, w := range writes {
		if w.tooLarge != nil {
			s.leaveOut(w, w.tooLarge)
			continue
		}
		var err error
		acks[i], err = s.store.JS.PublishMsgAsync(s.store.Bucket.Message(w.customer.Key(), w.next.Encode()),
			jetstream.WithExpectLastSequencePerSubject(w.cur.Revision), jetstream.WithStallWait(timing.StallWithin))
		if err != nil {
			return fmt.Errorf("write snapshot of %s: %w", w.customer, err)
		}
	}
	written := writes[:0:0]
	for i, w := range writes {
		if acks[i] == nil {
			continue
		}
		ack, err := s.store.Acked(ctx, acks[i])
		switch err = store.Sized(err, s.store.BucketStream()); {
		case store.IsConflict(err):
			s.Observer.Conflicted()
			if err := s.overtaken(ctx, w.group); err != nil {
				return err
			}
		case errors.Is(err, reduce.ErrTooLarge):
			s.leaveOut(w, err)
		case err != nil:
			return fmt.Errorf("write snapshot of %s over revision %d: %w", w.customer, w.cur.Revision, err)
		default:
			w.revision = ack.Sequence
			written = append(written, w)
		}
	}
	return s.finish(ctx, written)
}

// finish completes writes: it schedules each customer's wake, stores the record, clears the
// failures of its syncs, and removes the markers that are done.
func (s *sweep) finish(ctx context.Context, written []*overwrite) error {
	if len(written) == 0 {
		return nil
	}
	err := eachOf(ctx, written, func(ctx context.Context, w *overwrite) (err error) {
		if w.cur.There {
			err = s.Wake(ctx, w.customer, w.next, w.revision)
		} else {
			err = s.firstWake(ctx, w)
		}
		if err != nil {
			return err
		}
		if w.latest, err = s.Outside.LatestRecord(ctx, w.customer); err != nil {
			return fmt.Errorf("read the latest record of %s: %w", w.customer, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	acks := make([]jetstream.PubAckFuture, len(written))
	for i, w := range written {
		subject, data := stripeevent.SyncedSubject(w.customer), s.recordOf(w).Encode()
		acks[i], err = s.store.JS.PublishAsync(subject, data, jetstream.WithStallWait(timing.StallWithin))
		switch err = store.Sized(err, topology.SyncedStream); {
		case errors.Is(err, reduce.ErrTooLarge):
			s.leaveOut(w, fmt.Errorf("its record: %w", err))
		case err != nil:
			return fmt.Errorf("record the sync of %s: %w", w.customer, err)
		}
	}
	recorded := written[:0:0]
	for i, w := range written {
		if acks[i] == nil {
			continue
		}
		_, err := s.store.Acked(ctx, acks[i])
		switch err = store.Sized(err, topology.SyncedStream); {
		case errors.Is(err, reduce.ErrTooLarge):
			s.leaveOut(w, fmt.Errorf("its record: %w", err))
		case err != nil:
			return fmt.Errorf("record the sync of %s: %w", w.customer, err)
		default:
			s.count(w)
			recorded = append(recorded, w)
		}
	}
	written = recorded
	// The sync of a customer with a marker may have failed since failing was read, and no syncer
	// will get that marker again.
	failed := slices.DeleteFunc(slices.Clone(written), func(w *overwrite) bool {
		_, failing := s.failing[stripeevent.ParkedKey(w.customer)]
		return !failing && len(w.markers) == 0
	})
	if err := eachOf(ctx, failed, func(ctx context.Context, w *overwrite) error {
		return s.Unpark(ctx, protocol.Task{Customer: w.customer})
	}); err != nil {
		return err
	}
	if err := s.confirm(ctx, written); err != nil {
		return err
	}
	s.removeMarkers(ctx, written)
	return nil
}

// confirm decides entries again that were created under a plans document that is no longer in force,
// and marks those whose entitlements are read by now: the job that does so for the whole bucket may
// have ended without them.
func (s *sweep) confirm(ctx context.Context, written []*overwrite) error {
	created := slices.DeleteFunc(slices.Clone(written), func(w *overwrite) bool { return w.cur.There })
	if len(created) == 0 {
		return nil
	}
	now, err := s.Outside.Document(ctx, 0)
	if err != nil {
		return err
	}
	reading := plans.ReadNone
	if slices.ContainsFunc(created, func(w *overwrite) bool { return w.unasked }) {
		if reading, err = s.store.Reading(ctx, s.account, now.Entitlements(s.account), s.store.BulkPermit); err != nil {
			return err
		}
	}
	return eachOf(ctx, created, func(ctx context.Context, w *overwrite) (err error) {
		if w.cur.Document.Revision() != now.Revision() {
			_, err = s.DecideAgain(ctx, w.customer)
		}
		if err == nil && w.unasked && reading == plans.ReadAlways {
			err = s.store.MarkBulk(ctx, w.customer, entitlement.Cause{Trigger: s.trigger})
		}
		return err
	})
}

// removeMarkers removes the markers that records say are done, which saves the syncers work. A
// marker that stays does no harm: a syncer finds the record and acknowledges it. So an error here
// is logged once, and does not end the sweep.
func (s *sweep) removeMarkers(ctx context.Context, written []*overwrite) {
	written = slices.DeleteFunc(written, func(w *overwrite) bool { return len(w.markers) == 0 })
	if len(written) == 0 || s.kept.Load() {
		return
	}
	hint := "allow this NATS user to publish to $JS.API.STREAM.MSG.DELETE." + topology.SyncStream +
		", as nats.conf does"
	err := s.end.Still(ctx, s.store)
	if errors.Is(err, store.ErrRecreated) {
		hint = "nothing to do: coverage marks the customers that need it"
	} else if err == nil {
		err = eachOf(ctx, written, func(ctx context.Context, w *overwrite) error {
			for _, seq := range w.markers {
				// A marker that was acknowledged or replaced meanwhile is not there.
				if err := s.store.Sync.DeleteMsg(ctx, seq); err != nil &&
					!errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
					return fmt.Errorf("remove marker %d of %s: %w", seq, w.customer, err)
				}
			}
			return nil
		})
	}
	if err != nil && ctx.Err() == nil && s.kept.CompareAndSwap(false, true) {
		s.log.Warn("settled markers not removed; the syncers acknowledge them, which takes longer", "err", err,
			"hint", hint)
	}
}

// eachOf calls do for every write, several at a time.
func eachOf(ctx context.Context, all []*overwrite, do func(ctx context.Context, w *overwrite) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(store.ParallelReads)
	for _, w := range all {
		g.Go(func() error { return do(gctx, w) })
	}
	return g.Wait()
}

// firstWake schedules the wake of a customer that had no snapshot before. If it has a wake, a sync
// after the write has set it.
func (s *sweep) firstWake(ctx context.Context, w *overwrite) error {
	at, ok := plans.NextLook(&w.next, s.Now())
	if !ok {
		return nil
	}
	_, err := s.store.JS.PublishMsg(ctx, store.WakeMessage(w.customer, at),
		jetstream.WithExpectLastSequencePerSubject(0))
	if store.IsConflict(err) {
		return s.rewake(ctx, w.customer, &w.next)
	}
	if err != nil {
		return fmt.Errorf("schedule the next check of %s: %w", w.customer, err)
	}
	return nil
}

func (s *sweep) recordOf(w *overwrite) record.Record {
	r := record.Record{
		Trigger: s.trigger,
		// A later sync may have stored its record already; the events that it covers stay covered.
		EventsSeq:        max(s.fence.EventsSeq, w.latest.EventsSeq),
		StartedAt:        w.asOf,
		AsOf:             w.asOf,
		DurationMS:       s.Now().Sub(w.asOf).Milliseconds(),
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
	// The write before may have left no record; then this record holds the snapshot.
	if w.outcome != record.Unchanged || !w.cur.Recorded(w.latest) {
		r.Snapshot = &w.next
	}
	if len(w.markers) > 0 {
		r.MarkerSeq, r.ReceivedAt = s.end.Seq, &s.end.At
	}
	return r
}

func (s *sweep) count(w *overwrite) {
	s.report(func(d *Report) {
		switch w.outcome {
		case record.Created:
			d.Created++
		case record.Deleted:
			d.Deleted++
		case record.Unchanged:
			d.Unchanged++
		default:
			d.Changed++
		}
	})
}
