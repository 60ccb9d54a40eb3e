package record

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"entitled/entitlement/snapshot"
)

// Outcome is the result of a sync.
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
	// MarkerSeq is the marker's sequence in STRIPE_SYNC; 0 if the sync had no marker.
	MarkerSeq uint64 `json:"marker_seq,omitempty"`
	// EventsSeq is the last sequence of STRIPE_EVENTS before the fetch: the customer's events up to
	// there are covered. A failed sync repeats that of the record before.
	EventsSeq uint64 `json:"events_seq"`
	// ReceivedAt is when the marker was stored.
	ReceivedAt *time.Time `json:"received_at,omitempty"`
	// StartedAt is when a syncer took the marker, AsOf when the fetch started. Between the two it
	// waited for the customer's pace and the fleet's budget.
	StartedAt time.Time `json:"started_at"`
	AsOf      time.Time `json:"as_of"`
	// PaceMS is how much of the wait was for the customer's pace, in milliseconds.
	PaceMS int64 `json:"pace_ms,omitempty"`
	// Conflicts is how often another sync wrote first, so that this one read everything again.
	Conflicts        int      `json:"conflicts,omitempty"`
	DurationMS       int64    `json:"duration_ms"`
	StripeRequests   int      `json:"stripe_requests"`
	StripeRequestIDs []string `json:"stripe_request_ids"`
	Outcome          Outcome  `json:"outcome"`
	// Revision is the revision written; 0 if the sync failed.
	Revision uint64 `json:"revision,omitempty"`
	// Changed are the JSON paths at which the snapshot differs from the one before; only their
	// first fields if there are very many.
	Changed []string `json:"changed,omitempty"`
	// Snapshot is present unless an earlier record has the same content.
	Snapshot *snapshot.Snapshot `json:"snapshot,omitempty"`
	Cause    snapshot.Cause     `json:"cause"`
	Error    string             `json:"error,omitempty"`
}

// A Head is the part of a [Record] that later syncs read.
type Head struct {
	EventsSeq  uint64     `json:"events_seq"`
	Revision   uint64     `json:"revision"`
	MarkerSeq  uint64     `json:"marker_seq"`
	ReceivedAt *time.Time `json:"received_at"`
}

// Covers reports whether the record is of a sync that did the work of a marker with this sequence,
// stored at this time: the sync succeeded, and its own marker was stored later, so its fetch began
// after both. The time is compared because a recreated stream counts its sequences from 1 again.
func (h Head) Covers(seq uint64, stored time.Time) bool {
	return h.Revision != 0 && h.MarkerSeq > seq && h.ReceivedAt != nil && !h.ReceivedAt.Before(stored)
}

// DecodeHead reads a message of STRIPE_SYNCED; ok is false if it is not a record.
func DecodeHead(data []byte) (h Head, ok bool) {
	// The fields come before the snapshot, which is most of the record.
	if n := bytes.Index(data, []byte(`,"snapshot":{`)); n > 0 {
		if json.Unmarshal(append(bytes.Clone(data[:n]), '}'), &h) == nil {
			return h, true
		}
		h = Head{}
	}
	if json.Unmarshal(data, &h) != nil {
		return Head{}, false
	}
	return h, true
}

// Encode returns the record as a message.
func (r Record) Encode() []byte {
	s := r.Snapshot
	if s == nil {
		return JSON(r)
	}
	r.Snapshot = nil
	b := JSON(r)
	// No string has a quote without a backslash before it, so this is the field.
	at := bytes.Index(b, []byte(`,"cause":{`))
	return slices.Insert(b, at, append([]byte(`,"snapshot":`), s.Encode()...)...)
}

// JSON encodes v as snapshots are encoded, without escaping HTML.
func JSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // strings, numbers and times: cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
