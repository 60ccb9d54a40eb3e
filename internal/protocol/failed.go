package protocol

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"entitled/internal/record"
)

// A Settlement says what happens to a marker after its sync failed.
type Settlement struct {
	Disposition Disposition
	Err         error
	// Outcome is that of the record of the failure, empty if there is none.
	Outcome record.Outcome
	// Done: the marker is not needed any more. Otherwise it comes back after Delay.
	Done  bool
	Delay time.Duration
	// Stale: another sync covers this marker, so the failure does not count against the customer.
	Stale bool
}

// failed settles a failed sync. Unless its marker is gone, the failure counts against the customer
// and leaves a record.
func (p *Protocol) failed(ctx context.Context, t Task, rec record.Record, err error) Settlement {
	d := Dispose(err)
	s, serr := p.settle(ctx, t, rec, d, err)
	if s.Disposition, s.Err = d, err; serr != nil {
		s.Err, s.Done = errors.Join(err, serr), false
	}
	if d == Refuse && !t.Eager() { // apps may request any id, so a refused request says nothing about other customers
		p.evidence.refused(t.Customer.Key(), time.Now())
	}
	p.Observer.Failed(ctx, t, s)
	return s
}

func (p *Protocol) settle(ctx context.Context, t Task, rec record.Record, d Disposition,
	err error) (Settlement, error) {
	switch d {
	case Again:
		return Settlement{Delay: p.Timing.Again/2 + rand.N(p.Timing.Again)}, nil
	case Halt:
		return Settlement{Delay: p.Timing.Probe}, nil
	case Throttle:
		if err := p.Outside.Throttled(ctx); err != nil {
			return Settlement{Delay: p.Timing.Backoff(1)}, fmt.Errorf("lower the rate after a 429: %w", err)
		}
	}
	if t.Eager() {
		return p.requestFailed(ctx, t, rec, err)
	}
	switch newest, merr := p.Outside.NewestMarker(ctx, t.Subject); {
	case merr != nil:
		return Settlement{Delay: p.Timing.Backoff(1)}, fmt.Errorf("look for the marker of %s: %w", t.Customer, merr)
	case newest == 0 || newest > t.Seq:
		// The failure is not stored: another syncer may have synced the customer since, and then
		// no marker is left whose sync would clear the entry. The marker is not acknowledged,
		// because it may exist: a replica that lags does not find it either.
		return Settlement{Delay: p.Timing.Backoff(1), Stale: true}, nil
	}
	f, failureRevision, ferr := p.Outside.Failure(ctx, t.Customer)
	if ferr != nil {
		return Settlement{Delay: p.Timing.Backoff(1)}, fmt.Errorf("read the failures of %s: %w", t.Customer, ferr)
	}
	f = countFailure(f, d, p.evidence.succeed(t.Customer.Key(), d, f.LastAt), p.Now(), t.Cause, err)
	if err := p.Outside.SetFailure(ctx, t.Customer, f, failureRevision); err != nil && !errors.Is(err, ErrConflict) {
		return Settlement{Delay: p.Timing.Backoff(f.Attempts)}, fmt.Errorf("count the failure of %s: %w", t.Customer, err)
	} else if err != nil {
		// Another syncer counted a failure of the same customer. One of the two is enough, and that
		// one may have parked it.
		return Settlement{Delay: p.Timing.Backoff(f.Attempts)}, nil
	}
	out := Settlement{Outcome: record.Failed, Delay: p.Timing.Backoff(f.Attempts)}
	if f.ParkedAt != nil {
		out = Settlement{Outcome: record.Parked, Done: true}
	}
	if err := p.recordFailure(ctx, t, rec, out.Outcome, err); err != nil {
		return Settlement{Outcome: out.Outcome, Delay: out.Delay}, err
	}
	return out, nil
}

// requestFailed counts nothing: the app gets the error, and no marker tries the customer again.
// Apps may request any id, so only a customer in the bucket gets a record.
func (p *Protocol) requestFailed(ctx context.Context, t Task, rec record.Record, err error) (Settlement, error) {
	data, _, rerr := p.Outside.Snapshot(ctx, t.Customer.Key())
	if rerr != nil {
		return Settlement{}, fmt.Errorf("look whether %s has a snapshot: %w", t.Customer, rerr)
	}
	if data == nil {
		return Settlement{}, nil
	}
	return Settlement{Outcome: record.Failed}, p.recordFailure(ctx, t, rec, record.Failed, err)
}

// recordFailure leaves the record of a failed sync, which wrote nothing and covers no more events
// than the record before.
func (p *Protocol) recordFailure(ctx context.Context, t Task, rec record.Record, outcome record.Outcome,
	err error) error {
	rec.Outcome, rec.Error = outcome, err.Error()
	rec.Revision, rec.Changed, rec.Snapshot = 0, nil, nil
	rec.DurationMS = p.Now().Sub(rec.StartedAt).Milliseconds()
	latest, err := p.Outside.LatestRecord(ctx, t.Customer)
	if err == nil {
		rec.EventsSeq = latest.EventsSeq
		err = p.Outside.AppendRecord(ctx, t.Customer, rec)
	}
	if err != nil {
		return fmt.Errorf("record the failure of %s: %w", t.Customer, err)
	}
	return nil
}

// Unpark removes the failures of a customer that is synced.
func (p *Protocol) Unpark(ctx context.Context, t Task) error {
	_, revision, err := p.Outside.Failure(ctx, t.Customer)
	if err == nil && revision != 0 {
		err = p.Outside.ClearFailure(ctx, t.Customer, revision)
	}
	if err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("clear the failures of %s: %w", t.Customer, err)
	}
	return nil
}
