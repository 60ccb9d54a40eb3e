package topology

import (
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// The streams.
const (
	// EventsStream is the audit log: every verified event, unchanged.
	EventsStream = "STRIPE_EVENTS"
	// SyncStream holds the markers of the customers to sync, the wakes and the schedules of the
	// jobs.
	SyncStream = "STRIPE_SYNC"
	// SyncedStream holds the records: what every sync did, and why.
	SyncedStream = "STRIPE_SYNCED"
)

// The KV buckets beside entitlement.Bucket.
const (
	// PaceBucket holds the claims that space the syncs of a customer. Losing it costs requests to
	// Stripe.
	PaceBucket = "stripe_pace"
	// StateBucket holds the budget, the cursors of the jobs and the parked customers.
	StateBucket = "stripe_state"
	// PlansBucket holds the plans documents: <mode> is the one in force, <mode>.<number> each version.
	PlansBucket = entitlement.PlansBucket
)

const (
	// AckWait is how long a syncer may be silent about a message before the server redelivers it.
	AckWait = 10 * time.Second
	// PaceTTL is how long a claim is kept after its last change. The longest window is 8 s.
	PaceTTL = 30 * time.Second
)

// LaneConsumer returns the name of the durable consumer of SyncStream for the markers of a mode and
// lane.
func LaneConsumer(m entitlement.Mode, l stripeevent.Lane) string {
	return "syncer_" + string(m) + "_" + string(l)
}

// WatchersMax is the greatest number of consumers of a bucket that apps watch, and of its mirror:
// every watching program is one. The server's default is 1,000.
const WatchersMax = 10_000

// JobConsumer returns the name of the durable consumer of SyncStream for the due jobs of a mode.
func JobConsumer(m entitlement.Mode) string { return "syncer_" + string(m) + "_job" }
