package protocol

import (
	"context"
	"errors"
	"time"

	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// ErrConflict says that a compare-and-set found another revision than the expected one.
var ErrConflict = errors.New("another syncer was first")

// Outside is everything that a sync reads and writes outside its process. The protocol is written
// against it so that tests can make each call fail, answer late or be overtaken. Calls may be made
// concurrently.
type Outside interface {
	Markers
	Claims
	Stripe
	Snapshots
	Plans
	Wakes
	Records
	Failures
}

// Markers is the stream STRIPE_SYNC.
type Markers interface {
	// NewestMarker returns the sequence of the newest marker on a subject, 0 if it finds none. None
	// proves nothing: a replica that lags behind finds none right after a delivery.
	NewestMarker(ctx context.Context, subject string) (uint64, error)
}

// Claims is the bucket stripe_pace.
type Claims interface {
	// Claim returns the customer's claim and its revision, the zero claim and 0 if there is none.
	Claim(ctx context.Context, key string) (Claim, uint64, error)
	// SetClaim replaces it. It fails with ErrConflict if the revision is not the given one.
	SetClaim(ctx context.Context, key string, c Claim, revision uint64) error
}

// Stripe is Stripe, and the budget of requests that the fleet shares. A permit allows one request.
type Stripe interface {
	// TryPermit takes a permit if this process has one already. PrefetchPermit gets one for it, if
	// there are plenty.
	TryPermit() bool
	PrefetchPermit(ctx context.Context)
	// TakePermit waits for a permit from the share of a kind. ReturnPermit gives an unused one
	// back.
	TakePermit(ctx context.Context, kind stripeapi.Kind) error
	ReturnPermit()
	// Throttled lowers the fleet's rate after Stripe answered 429.
	Throttled(ctx context.Context) error
	// Reading returns reading, except for [plans.ReadIfAny]: then it depends on whether the Stripe
	// account has features. It asks Stripe for them, with a permit, if that is not known.
	Reading(ctx context.Context, account string, reading plans.Reading,
		permit func(context.Context) error) (plans.Reading, error)
	// Fetch reads the whole state of a customer, with its active entitlements if reading says so.
	// It uses the permit that its caller has, and takes one with permit for each further request.
	Fetch(ctx context.Context, c stripeevent.Customer, reading plans.Reading,
		permit func(context.Context) error) (stripeapi.State, stripeapi.Trace, error)
}

// Snapshots is the bucket entitlements_<mode>, and the end of the event log that fences a snapshot.
type Snapshots interface {
	// Snapshot returns the customer's entry and its revision: nil and 0 if there was never one, nil
	// and the revision of its removal if the customer was forgotten.
	Snapshot(ctx context.Context, key string) ([]byte, uint64, error)
	// WriteSnapshot writes it over the given revision (0: there is no entry) and returns the new
	// one. It fails with ErrConflict if the revision is another.
	WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
	// LastEvent returns the last sequence of STRIPE_EVENTS.
	LastEvent(ctx context.Context) (uint64, error)
}

// Plans is the bucket entitled_plans.
type Plans interface {
	// Document returns the plans document in force, nil if none was ever applied. It never returns
	// an earlier document than a call that ended before. It fails with ErrPlans if the document is
	// gone or cannot be read, or if its number is less than least, which is the number of a snapshot.
	Document(ctx context.Context, least uint64) (*plans.Document, error)
}

// Wakes is the schedules in the stream STRIPE_SYNC.
type Wakes interface {
	// SetWake replaces the customer's scheduled check, ClearWake removes it.
	SetWake(ctx context.Context, c stripeevent.Customer, at time.Time) error
	ClearWake(ctx context.Context, c stripeevent.Customer) error
}

// Records is the stream STRIPE_SYNCED.
type Records interface {
	AppendRecord(ctx context.Context, c stripeevent.Customer, r record.Record) error
	// LatestRecord returns the head of the customer's latest record, the zero one if there is none
	// or it does not decode.
	LatestRecord(ctx context.Context, c stripeevent.Customer) (record.Head, error)
}

// Failures is the customers that failed, in the bucket stripe_state.
type Failures interface {
	// Failure returns the customer's entry and its revision, the zero Failure and 0 if there is
	// none.
	Failure(ctx context.Context, c stripeevent.Customer) (record.Failure, uint64, error)
	// SetFailure writes it over the given revision, ClearFailure removes it. Both fail with
	// ErrConflict if the revision is another.
	SetFailure(ctx context.Context, c stripeevent.Customer, f record.Failure, revision uint64) error
	ClearFailure(ctx context.Context, c stripeevent.Customer, revision uint64) error
}
