package store

import (
	"time"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
)

// A Relief is the entry about a relief. After an outage that left more customers dirty than the
// account has pages of subscriptions, one syncer reads the account in a sweep that writes, and the
// others put off the markers that were there before.
//
// A relief takes its permits in the lane for webhooks if the customers of that lane alone are worth
// a sweep; else in the bulk lane, and then it delays no customer that a webhook marked. It covers
// one's own account: customers of connected accounts are not put off.
//
// It keeps the promise that every marker leads to a fetch that starts after it was stored. The end
// of STRIPE_SYNC is noted before the sweep's first request, so every fetch of the sweep starts
// after the markers up to there were stored. The sweep writes a customer that has one even if
// unchanged, and the record has the noted sequence as its marker_seq: up to there the customer's
// markers are done. A syncer that gets such a marker acknowledges it if the customer's record says
// so, puts it off while the sweep is under way, and syncs it otherwise. So a customer that the
// sweep leaves out, or does not reach, is synced as usual. Markers stored later are not affected.
type Relief struct {
	// Run names the sweep.
	Run string `json:"run"`
	MarkersEnd
	// Lane is the lane in which it takes its permits.
	Lane stripeevent.Lane `json:"lane"`
	// Active says that it is under way. Beat rises, every few seconds, while it is.
	Active bool `json:"active"`
	Beat   int  `json:"beat"`
	// Ended is when it ended.
	Ended time.Time `json:"ended,omitzero"`
}

// ReliefEntry returns the entry of stripe_state that holds the last relief of a mode.
func ReliefEntry(state streams.KV, mode entitlement.Mode) streams.Entry[Relief] {
	return streams.Entry[Relief]{KV: state, Key: "relief." + string(mode)}
}

// Reaches reports whether the sweep settles the task's marker if it finds the customer.
func (r Relief) Reaches(t protocol.Task) bool {
	return t.Seq != 0 && t.Seq <= r.Seq && t.Customer.Account == ""
}

// GoesBefore reports whether the task waits while the sweep is under way.
func (r Relief) GoesBefore(t protocol.Task) bool {
	return r.Reaches(t) && (t.Lane == stripeevent.Bulk || r.Lane == stripeevent.Now)
}
