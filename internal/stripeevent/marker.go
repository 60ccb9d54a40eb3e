package stripeevent

import (
	"encoding/json"

	"entitled/entitlement/snapshot"
)

// A marker says "this customer may have changed": a message on [SyncSubject] whose body is a
// [snapshot.Cause]. It carries no state, so that only the newest one of a customer matters.

// The triggers of a sync, as in [snapshot.Cause].
const (
	TriggerWebhook  = "webhook"
	TriggerWake     = "wake"
	TriggerRequest  = "request"
	TriggerCoverage = "coverage"
	TriggerReplay   = "replay"
	TriggerSweep    = "sweep"
	TriggerBackfill = "backfill"
	TriggerRecover  = "recover"
	TriggerFanout   = "fanout"
	TriggerRedrive  = "redrive"
	TriggerPlans    = "plans" // no sync, a decision that was made again
)

// EncodeMarker returns the body of a marker.
func EncodeMarker(c snapshot.Cause) []byte {
	b, _ := json.Marshal(c) // marshaling three strings cannot fail
	return b
}

// DecodeMarker reads the body of a marker. A body that is not one still marks its customer, with
// the trigger "unknown": the subject says which customer to sync.
func DecodeMarker(body []byte) snapshot.Cause {
	var c snapshot.Cause
	if json.Unmarshal(body, &c) != nil || c.Trigger == "" {
		return snapshot.Cause{Trigger: "unknown"}
	}
	return c
}
