package protocol

import (
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A Task is a reason to sync one customer: a marker, or a request.
type Task struct {
	Customer stripeevent.Customer
	Lane     stripeevent.Lane
	// Subject, Seq and Received are those of the marker; a request has none.
	Subject  string
	Seq      uint64
	Received time.Time
	Cause    snapshot.Cause
}

// Eager reports whether the task is a request: an app waits for the answer, so the task does not
// wait for the customer's pace.
func (t Task) Eager() bool { return t.Seq == 0 }

// kind is the share of the budget that the task takes its permits from.
func (t Task) kind() stripeapi.Kind {
	if t.Eager() {
		return stripeapi.Requests
	}
	return KindOf(t.Lane)
}

// KindOf is the share of the markers of a lane.
func KindOf(lane stripeevent.Lane) stripeapi.Kind {
	if lane == stripeevent.Bulk {
		return stripeapi.Bulk
	}
	return stripeapi.Webhooks
}
