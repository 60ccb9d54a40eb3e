package topology

import (
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// The streams.
const (
	// EventsStream is the audit log: every verified event, as it came.
	EventsStream = "STRIPE_EVENTS"
	// SyncStream is the set of customers to sync: one marker each, and the schedules that make more of them.
	SyncStream = "STRIPE_SYNC"
	// SyncedStream is what every sync did, and why.
	SyncedStream = "STRIPE_SYNCED"
)

// The KV buckets beside entitlement.Bucket.
const (
	// PaceBucket holds the claims that space the syncs of one customer. Losing it costs requests to Stripe.
	PaceBucket = "stripe_pace"
	// StateBucket holds the budget, the cursors of the jobs and the parked customers.
	StateBucket = "stripe_state"
	// PlansBucket holds the plans documents, where there are any.
	PlansBucket = "entitled_plans"
)

const (
	// AckWait is how long a syncer may be silent about a message before another gets it.
	AckWait = 10 * time.Second
	// PaceTTL is how long a claim outlives its last change; the longest claim is 8 s.
	PaceTTL = 30 * time.Second
)

// LaneConsumer is the durable consumer on SyncStream that hands out the markers of a mode and lane.
func LaneConsumer(m entitlement.Mode, l stripeevent.Lane) string {
	return "syncer_" + string(m) + "_" + string(l)
}

// WatchersMax is how many consumers the bucket of a mode may have, and a mirror of it: each program that watches is one. The server's
// default is 1,000.
const WatchersMax = 10_000

// JobConsumer is the durable consumer on SyncStream that hands out the jobs of a mode that are due.
func JobConsumer(m entitlement.Mode) string { return "syncer_" + string(m) + "_job" }
