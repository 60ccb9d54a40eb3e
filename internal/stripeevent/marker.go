package stripeevent

import (
	"encoding/json"

	"entitled/entitlement"
)

// A marker says "this customer may have changed": a message on [SyncSubject] whose body is an
// [entitlement.Cause]. It carries no state, so that only the newest one of a customer matters.

// What can lead to a sync: the triggers of an [entitlement.Cause].
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
)

// EncodeMarker is the body of a marker.
func EncodeMarker(c entitlement.Cause) []byte {
	b, _ := json.Marshal(c) // three strings: cannot fail
	return b
}

// DecodeMarker reads a marker's body. A body that is none still marks its customer, with the trigger "unknown":
// what to sync is in the subject.
func DecodeMarker(body []byte) entitlement.Cause {
	var c entitlement.Cause
	if json.Unmarshal(body, &c) != nil || c.Trigger == "" {
		return entitlement.Cause{Trigger: "unknown"}
	}
	return c
}
