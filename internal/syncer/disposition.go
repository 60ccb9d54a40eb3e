package syncer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
)

// disposition is what becomes of a marker whose sync did not succeed. dispose is the only place that decides it.
type disposition int

const (
	// again: what failed is on our side of the wire. Redelivered soon, not held against the customer.
	again disposition = iota
	// retry: Stripe did not answer properly. Counted; redelivered with growing delay; parked after maxFailures,
	// provided that other customers succeed meanwhile.
	retry
	// throttle: Stripe answered 429. As retry, and the fleet slows down.
	throttle
	// suspect: the answers make no sense for this customer. As retry, but parked after maxFailures whatever
	// becomes of others.
	suspect
	// refuse: Stripe refuses this request. Parked at once while other customers succeed; else the fault may be ours.
	refuse
	// park: Stripe refuses the customer's account, or NATS a snapshot of its size. Parked at once: only a change there mends it.
	park
	// halt: Stripe refuses the key. Nothing is taken until that is mended, and every marker stays.
	halt
)

func (d disposition) String() string {
	return [...]string{"again", "retry", "throttle", "suspect", "refuse", "park", "halt"}[d]
}

// dispose maps the error of a sync to what happens next: the first rule that fits.
func dispose(err error) disposition {
	e, ok := errors.AsType[*stripeapi.Error](err)
	switch {
	case errors.Is(err, errTooLarge):
		return park
	case !ok:
		return again
	// Whole answers that cannot be this customer's state: another's subscription, a list that does not end.
	case errors.Is(err, stripeapi.ErrNotWhole):
		return suspect
	// Before the type: stripe-go v76 types a 429 as an invalid request.
	case e.Status == http.StatusTooManyRequests:
		return throttle
	case e.NotJSON, e.Status == 0, e.Status >= 500,
		e.Status == http.StatusRequestTimeout, e.Status == http.StatusConflict:
		return retry
	case e.Status == http.StatusUnauthorized,
		e.Status == http.StatusForbidden && e.Account == "":
		return halt
	case e.Status == http.StatusForbidden:
		return park
	default:
		return refuse
	}
}

// maxFailures is how many failed syncs of a customer lead to its parking.
const maxFailures = 20

const (
	firstDelay   = time.Second
	longestDelay = 15 * time.Minute
	// Our own side mends fast, or the connection is gone and nothing is delivered anyway.
	againDelay = time.Second
)

// backoff is the delay before attempt n+1, doubling from firstDelay, with jitter so that those who failed together do not
// come back together.
func backoff(attempts int) time.Duration {
	d := longestDelay
	if shift := max(attempts-1, 0); shift < 20 {
		d = min(firstDelay<<shift, longestDelay)
	}
	return d/2 + rand.N(d/2+1)
}

// A Failure is a customer's entry in stripe_state: how often its sync failed since it last succeeded, and whether it is
// parked. A parked customer has no marker; its next event, a request or a redrive tries it again.
type Failure struct {
	// Failures are those that count towards parking, Attempts all of them.
	Failures int       `json:"failures"`
	Attempts int       `json:"attempts"`
	FirstAt  time.Time `json:"first_at"`
	LastAt   time.Time `json:"last_at"`
	Error    string    `json:"error"`
	// ParkedAt is when it was parked; absent while it is still retried.
	ParkedAt *time.Time        `json:"parked_at,omitempty"`
	Cause    entitlement.Cause `json:"cause"`
}

// fail counts a failed sync against its customer and decides whether that parks it.
func (f Failure) fail(d disposition, othersSucceed bool, now time.Time, cause entitlement.Cause, err error) Failure {
	now = now.UTC()
	if f.FirstAt.IsZero() {
		f.FirstAt = now
	}
	f.LastAt, f.Error, f.Cause = now, err.Error(), cause
	f.Attempts++
	// An outage of Stripe fails everybody; it parks nobody.
	if d == suspect || othersSucceed {
		f.Failures++
	}
	parked := d == park || d == refuse && othersSucceed || f.Failures >= maxFailures
	if !parked {
		f.ParkedAt = nil
	} else if f.ParkedAt == nil {
		f.ParkedAt = &now
	}
	return f
}

// settlement is what a worker does with a marker after its sync failed with err.
type settlement struct {
	outcome Outcome
	// done: the marker is not needed any more. Otherwise it comes back after delay.
	done  bool
	delay time.Duration
	// stale: the marker is done, or a newer one does its work. The failure is nobody's.
	stale bool
}

// failed says what becomes of a task whose sync failed. Where its marker still waits, err is counted against the customer, and leaves a record.
func (p *protocol) failed(ctx context.Context, t task, rec Record, err error, others *evidence) (settlement, error) {
	d := dispose(err)
	switch d {
	case again:
		return settlement{delay: againDelay/2 + rand.N(againDelay)}, nil
	case halt:
		return settlement{delay: probeEvery}, nil
	case throttle:
		if err := p.Throttled(ctx); err != nil {
			return settlement{delay: backoff(1)}, fmt.Errorf("lower the rate after a 429: %w", err)
		}
	}
	if t.eager() {
		return p.requestFailed(ctx, t, rec, err)
	}
	switch newest, merr := p.NewestMarker(ctx, t.subject); {
	case merr != nil:
		return settlement{delay: backoff(1)}, fmt.Errorf("look for the marker of %s: %w", t.customer, merr)
	case newest == 0 || newest > t.seq:
		// An entry would stand over a customer that nobody tries again, say one that another syncer has synced since. The marker is not
		// acknowledged: a replica that lags does not find it either.
		return settlement{delay: backoff(1), stale: true}, nil
	}
	f, failureRevision, ferr := p.Failure(ctx, t.customer)
	if ferr != nil {
		return settlement{delay: backoff(1)}, fmt.Errorf("read the failures of %s: %w", t.customer, ferr)
	}
	f = f.fail(d, others.succeed(t.customer.Key(), d, f.LastAt), p.now(), t.cause, err)
	if err := p.SetFailure(ctx, t.customer, f, failureRevision); err != nil && !errors.Is(err, errConflict) {
		return settlement{delay: backoff(f.Attempts)}, fmt.Errorf("count the failure of %s: %w", t.customer, err)
	} else if err != nil {
		// Another syncer counted a failure of the same customer; one of the two is enough, and it may have parked it.
		return settlement{delay: backoff(f.Attempts)}, nil
	}
	out := settlement{outcome: Failed, delay: backoff(f.Attempts)}
	if f.ParkedAt != nil {
		out = settlement{outcome: Parked, done: true}
	}
	if err := p.recordFailure(ctx, t, rec, out.outcome, err); err != nil {
		return settlement{outcome: out.outcome, delay: out.delay}, err
	}
	return out, nil
}

// requestFailed counts nothing: whoever asked is told, and nobody else tries it again. Anybody may ask for any id, so only a customer that the
// bucket has gets a record.
func (p *protocol) requestFailed(ctx context.Context, t task, rec Record, err error) (settlement, error) {
	known, _, rerr := p.Snapshot(ctx, t.customer.Key())
	if rerr != nil {
		return settlement{}, fmt.Errorf("look whether %s has a snapshot: %w", t.customer, rerr)
	}
	if known == nil {
		return settlement{}, nil
	}
	return settlement{outcome: Failed}, p.recordFailure(ctx, t, rec, Failed, err)
}

// recordFailure leaves the record of a sync that failed: it wrote nothing, and covers no more than the one before.
func (p *protocol) recordFailure(ctx context.Context, t task, rec Record, outcome Outcome, err error) error {
	rec.Outcome, rec.Error = outcome, err.Error()
	rec.Revision, rec.Changed, rec.Snapshot = 0, nil, nil
	rec.DurationMS = p.now().Sub(rec.StartedAt).Milliseconds()
	latest, err := p.LatestRecord(ctx, t.customer)
	if err == nil {
		rec.EventsSeq = latest.EventsSeq
		err = p.AppendRecord(ctx, t.customer, rec)
	}
	if err != nil {
		return fmt.Errorf("record the failure of %s: %w", t.customer, err)
	}
	return nil
}

// unpark forgets the failures of a customer whose sync succeeded.
func (p *protocol) unpark(ctx context.Context, t task) error {
	_, revision, err := p.Failure(ctx, t.customer)
	if err == nil && revision != 0 {
		err = p.ClearFailure(ctx, t.customer, revision)
	}
	if err != nil && !errors.Is(err, errConflict) {
		return fmt.Errorf("clear the failures of %s: %w", t.customer, err)
	}
	return nil
}
