package syncer

import (
	"context"
	"fmt"
	"time"

	"entitled/internal/protocol"
	"entitled/internal/record"
)

// An observed is the syncer as the protocol's observer: it counts, traces and logs the results of
// syncs, reports readiness, and halts if Stripe refuses the key.
type observed struct{ *Syncer }

func (s observed) Conflicted() { s.metrics.conflicts.Inc() }

func (s observed) Problems() { s.metrics.problems.Inc() }

func (s observed) Superseded(ctx context.Context, _ protocol.Task) {
	s.metrics.superseded.Inc()
	traceResult(ctx, protocol.Result{Superseded: true}, nil)
}

func (s observed) Synced(ctx context.Context, t protocol.Task, r record.Record) {
	s.ready(conditionStripe, nil)
	s.metrics.synced(t, r)
	traceResult(ctx, protocol.Result{Record: r}, nil)
}

func (s observed) PutOff(ctx context.Context, _ protocol.Task, reason error) {
	traceResult(ctx, protocol.Result{}, reason)
}

func (s observed) Failed(ctx context.Context, t protocol.Task, f protocol.Settlement) {
	traceResult(ctx, protocol.Result{}, f.Err)
	s.metrics.failed(f.Disposition)
	switch {
	case f.Disposition == protocol.Halt:
		s.halt(t, f.Err)
	case f.Disposition == protocol.Refuse && !t.Eager() && f.Outcome == record.Failed:
		s.ready(conditionStripe,
			fmt.Errorf("request refused by Stripe, and no other customer succeeds, so the request may be wrong: %w", f.Err))
	}
	about := append(traceID(ctx), "customer", t.Customer)
	switch {
	case f.Done && f.Outcome == record.Parked:
		s.metrics.synced(t, record.Record{Trigger: t.Cause.Trigger, Outcome: record.Parked})
		s.log.Error("customer parked: its next event or `entitled sync` tries it again",
			append(about, "event", t.Cause.Event, "err", f.Err)...)
	case f.Disposition == protocol.Halt:
		// The condition stripe says so.
	case t.Eager():
		s.log.Warn("sync failed, the app that requested it gets the error", append(about, "err", f.Err)...)
	case f.Stale:
		s.log.Info("sync failed, but its marker is done or replaced",
			append(about, "event", t.Cause.Event, "err", f.Err)...)
	default:
		s.log.Warn("sync failed, it will be retried",
			append(about, "event", t.Cause.Event, "delay", f.Delay.Round(time.Millisecond), "err", f.Err)...)
	}
}
