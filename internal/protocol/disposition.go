package protocol

import (
	"errors"
	"net/http"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
)

// A Disposition says what happens to a marker whose sync failed. Dispose is the only place that
// decides it.
type Disposition int

const (
	// Again: something on our side of the wire failed. The marker is delivered again soon, and the
	// customer is not blamed.
	Again Disposition = iota
	// Retry: Stripe gave no proper answer. Counted, and delivered again with a growing delay;
	// parked after maxFailures if other customers succeed meanwhile.
	Retry
	// Throttle: Stripe answered 429. As Retry, and the fleet slows down.
	Throttle
	// Suspect: the answers make no sense for this customer. As Retry, but parked after maxFailures
	// even if no other customer succeeds.
	Suspect
	// Refuse: Stripe refuses this request. Parked at once if other customers succeed; otherwise the
	// fault may be ours.
	Refuse
	// Park: Stripe refuses the customer's account, or NATS the size of its snapshot. Parked at
	// once, because only a change of the account, or of NATS's settings, helps.
	Park
	// Halt: Stripe refuses the key. The syncer takes no work until it is mended, and every marker
	// stays.
	Halt
)

func (d Disposition) String() string {
	return [...]string{"again", "retry", "throttle", "suspect", "refuse", "park", "halt"}[d]
}

// Dispose maps the error of a sync to what happens next: the first rule that fits.
func Dispose(err error) Disposition {
	e, ok := errors.AsType[*stripeapi.Error](err)
	switch {
	case errors.Is(err, reduce.ErrTooLarge):
		return Park
	case !ok:
		return Again
	// Answers that cannot be this customer's state: a subscription of another customer, a list
	// without an end.
	case errors.Is(err, stripeapi.ErrNotWhole):
		return Suspect
	// Before the type: stripe-go v76 types a 429 as an invalid request.
	case e.Status == http.StatusTooManyRequests:
		return Throttle
	case e.NotJSON, e.Status == 0, e.Status >= 500,
		e.Status == http.StatusRequestTimeout, e.Status == http.StatusConflict:
		return Retry
	case e.Status == http.StatusUnauthorized,
		e.Status == http.StatusForbidden && e.Account == "":
		return Halt
	case e.Status == http.StatusForbidden:
		return Park
	default:
		return Refuse
	}
}

// maxFailures is how many failed syncs of a customer lead to its parking.
const maxFailures = 20

// countFailure counts a failed sync against its customer and decides whether that parks it.
func countFailure(f record.Failure, d Disposition, othersSucceed bool, now time.Time, cause snapshot.Cause,
	err error) record.Failure {
	now = now.UTC()
	if f.FirstAt.IsZero() {
		f.FirstAt = now
	}
	f.LastAt, f.Error, f.Cause = now, err.Error(), cause
	f.Attempts++
	// In an outage of Stripe every customer fails, and none is parked.
	if d == Suspect || othersSucceed {
		f.Failures++
	}
	parked := d == Park || d == Refuse && othersSucceed || f.Failures >= maxFailures
	if !parked {
		f.ParkedAt = nil
	} else if f.ParkedAt == nil {
		f.ParkedAt = &now
	}
	return f
}
