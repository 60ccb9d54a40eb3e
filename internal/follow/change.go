package follow

import (
	"encoding/json"
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// A Change is new content of a customer's snapshot, as a watcher of the bucket saw it.
type Change struct {
	Key      string
	Revision uint64
	// Initial says that this is the state that was found, not a change.
	Initial bool
	// Before is what the watcher knew, nil for a customer it sees for the first time.
	Before *entitlement.Snapshot
	// After is zero for a customer that is not in the bucket.
	After entitlement.Snapshot
	Seen  time.Time
	// Record is what the syncer left about the sync that wrote it; nil if that did not arrive.
	Record *record.Record
}

// Waited returns the time from the webhook to the change. It is false if no webhook led to it.
func (c Change) Waited() (time.Duration, bool) {
	if c.Record == nil || c.Record.ReceivedAt == nil || c.Record.Trigger != stripeevent.TriggerWebhook {
		return 0, false
	}
	return max(0, c.Seen.Sub(*c.Record.ReceivedAt)), true
}

// Encode returns the change as a line of JSON.
func (c Change) Encode() []byte {
	line := struct {
		Key      string          `json:"key"`
		Revision uint64          `json:"revision"`
		Snapshot json.RawMessage `json:"snapshot"`
	}{c.Key, c.Revision, json.RawMessage("null")}
	if c.After.Customer != "" {
		line.Snapshot = c.After.Encode()
	}
	b, _ := json.Marshal(line) // text, a number and JSON: cannot fail
	return append(b, '\n')
}
