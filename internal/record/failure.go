package record

import (
	"time"

	"entitled/entitlement/snapshot"
)

// A Failure is a customer's entry in stripe_state: how often its sync failed since the last
// success, and whether it is parked. A parked customer has no marker; its next event, a request or
// a redrive tries it again.
type Failure struct {
	// Attempts counts all failed syncs, Failures those that count towards parking.
	Failures int       `json:"failures"`
	Attempts int       `json:"attempts"`
	FirstAt  time.Time `json:"first_at"`
	LastAt   time.Time `json:"last_at"`
	Error    string    `json:"error"`
	// ParkedAt is when the customer was parked; absent while its marker is retried.
	ParkedAt *time.Time     `json:"parked_at,omitempty"`
	Cause    snapshot.Cause `json:"cause"`
}
