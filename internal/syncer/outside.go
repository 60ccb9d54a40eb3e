package syncer

import (
	"context"
	"errors"
	"time"

	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// errConflict says that a compare-and-set found another revision than the one it was given.
var errConflict = errors.New("another syncer was first")

// outside is everything that a sync reads and writes beyond its process. The protocol is written against it, so that
// each of these can be made to fail, to answer late or to be overtaken, one at a time, in tests.
type outside interface {
	markers
	claims
	stripeReads
	snapshots
	wakes
	records
	failures
}

// markers is STRIPE_SYNC.
type markers interface {
	// NewestMarker is the sequence of the newest marker on a subject, 0 if none was found. Not found proves nothing:
	// a replica that lags behind says so right after a delivery.
	NewestMarker(ctx context.Context, subject string) (uint64, error)
}

// claims is the bucket stripe_pace.
type claims interface {
	// Claim is the customer's claim and its revision, the zero claim and 0 if there is none.
	Claim(ctx context.Context, key string) (claim, uint64, error)
	// SetClaim sets it, errConflict if the revision is not the one given.
	SetClaim(ctx context.Context, key string, c claim, revision uint64) error
}

// stripeReads is Stripe, and the budget that the fleet shares for reading it.
type stripeReads interface {
	// PlaceAtHand takes a place that this process has already, if it has one. PlaceAhead sees to it that it has, if there are plenty.
	PlaceAtHand() bool
	PlaceAhead(ctx context.Context)
	// Place waits for a place in the share of a kind; ReturnPlace hands an unused one back.
	Place(ctx context.Context, kind stripeapi.Kind) error
	ReturnPlace()
	// Throttled lowers the fleet's rate after Stripe answered 429.
	Throttled(ctx context.Context) error
	// Fetch reads all of a customer's state; it has one place and takes one from place for each further request.
	Fetch(ctx context.Context, c stripeevent.Customer, place func(context.Context) error) (stripeapi.State, stripeapi.Trace, error)
}

// snapshots is the entitlement bucket of the mode, and the log whose end a snapshot is fenced with.
type snapshots interface {
	// Snapshot is the customer's entry and its revision, nil and 0 if there is none; nil and the revision that took it away
	// if it was forgotten.
	Snapshot(ctx context.Context, key string) ([]byte, uint64, error)
	// WriteSnapshot writes it over the given revision (0: where there is none) and returns the new one;
	// errConflict if the revision is another.
	WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
	// LastEvent is the last sequence of STRIPE_EVENTS.
	LastEvent(ctx context.Context) (uint64, error)
}

// wakes is the schedules in STRIPE_SYNC.
type wakes interface {
	// SetWake replaces the customer's scheduled check, ClearWake removes it.
	SetWake(ctx context.Context, c stripeevent.Customer, at time.Time) error
	ClearWake(ctx context.Context, c stripeevent.Customer) error
}

// records is STRIPE_SYNCED.
type records interface {
	AppendRecord(ctx context.Context, c stripeevent.Customer, r Record) error
	// LatestRecord is the head of the customer's latest record, the zero one if there is none, or what is there does not decode.
	LatestRecord(ctx context.Context, c stripeevent.Customer) (recordHead, error)
}

// failures is the customers that failed, in the bucket stripe_state.
type failures interface {
	// Failure is the customer's entry and its revision, the zero Failure and 0 if there is none.
	Failure(ctx context.Context, c stripeevent.Customer) (Failure, uint64, error)
	// SetFailure writes it over the given revision, errConflict if the revision is another.
	SetFailure(ctx context.Context, c stripeevent.Customer, f Failure, revision uint64) error
	ClearFailure(ctx context.Context, c stripeevent.Customer, revision uint64) error
}
