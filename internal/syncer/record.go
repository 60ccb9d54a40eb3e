package syncer

import (
	"bytes"
	"encoding/json"
	"time"

	"entitled/entitlement"
)

// Outcome is what a sync came to.
type Outcome string

const (
	Created   Outcome = "created"
	Changed   Outcome = "changed"
	Unchanged Outcome = "unchanged"
	Deleted   Outcome = "deleted"
	Failed    Outcome = "failed"
	Parked    Outcome = "parked"
)

// A Record says what one sync did and why: a message of the stream STRIPE_SYNCED.
type Record struct {
	Trigger string `json:"trigger"`
	Event   string `json:"event,omitempty"`
	Type    string `json:"type,omitempty"`
	// MarkerSeq is the marker's sequence in STRIPE_SYNC; 0 where no marker led to the sync.
	MarkerSeq uint64 `json:"marker_seq,omitempty"`
	// EventsSeq says that the customer's events up to this sequence of STRIPE_EVENTS are covered: the stream's last
	// sequence before the fetch. A sync that failed covers no more than the one before.
	EventsSeq uint64 `json:"events_seq"`
	// ReceivedAt is when the marker was stored.
	ReceivedAt *time.Time `json:"received_at,omitempty"`
	// StartedAt is when a syncer took the marker, AsOf when the fetch started; in between it waited for the
	// customer's pace and the fleet's budget.
	StartedAt time.Time `json:"started_at"`
	AsOf      time.Time `json:"as_of"`
	// PaceMS is how much of the wait was for the customer's pace, in milliseconds.
	PaceMS int64 `json:"pace_ms,omitempty"`
	// Conflicts is how often the write came too late, because another sync had written first; then all was read again.
	Conflicts        int      `json:"conflicts,omitempty"`
	DurationMS       int64    `json:"duration_ms"`
	StripeRequests   int      `json:"stripe_requests"`
	StripeRequestIDs []string `json:"stripe_request_ids"`
	Outcome          Outcome  `json:"outcome"`
	// Revision is the one written; a sync that failed wrote none.
	Revision uint64 `json:"revision,omitempty"`
	// Changed are the JSON paths that differ from the snapshot before; where they are very many, only the fields that they begin with.
	Changed []string `json:"changed,omitempty"`
	// Snapshot is there whenever the records before do not have its content yet.
	Snapshot *entitlement.Snapshot `json:"snapshot,omitempty"`
	Cause    entitlement.Cause     `json:"cause"`
	Error    string                `json:"error,omitempty"`
}

// A recordHead is what a later sync wants to know of a [Record].
type recordHead struct {
	EventsSeq  uint64     `json:"events_seq"`
	Revision   uint64     `json:"revision"`
	MarkerSeq  uint64     `json:"marker_seq"`
	ReceivedAt *time.Time `json:"received_at"`
}

// covers reports whether the record is of a sync that did the task's work: it succeeded, and its marker was stored after
// the task's, so its fetch began after that too. The time tells sequences of a stream that was made anew from those of the
// one before.
func (r recordHead) covers(t task) bool {
	return r.Revision != 0 && r.MarkerSeq > t.seq && r.ReceivedAt != nil && !r.ReceivedAt.Before(t.received)
}

func (r Record) encode() []byte { return encode(r) }

// encode is v as JSON as a snapshot has it: HTML is not escaped.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // strings, numbers and times: cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
