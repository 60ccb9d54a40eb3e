package audit

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/repeats"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A Story is what happened to one customer, in order, with its present state.
type Story struct {
	Customer stripeevent.Customer `json:"-"`
	Steps    []Step               `json:"steps"`
	Now      Present              `json:"now"`
}

// A Step is either an event that arrived or a sync that ended.
type Step struct {
	Event *Heard `json:"event,omitempty"`
	Sync  *Sync  `json:"sync,omitempty"`
}

// At returns when the step was stored.
func (s Step) At() time.Time {
	if s.Event != nil {
		return s.Event.StoredAt
	}
	return s.Sync.StoredAt
}

// Fate is what happened to an event.
type Fate string

const (
	// Kept events do not mark: they are stored, and no sync follows.
	Kept Fate = "kept"
	// Covered events arrived before a fetch that led to a snapshot.
	Covered Fate = "covered"
	// Waiting events have a pending marker of their customer, or are so young that it may be on its
	// way.
	Waiting Fate = "waiting"
	// SetAside events belong to a parked customer.
	SetAside Fate = "parked"
	// Uncovered events are none of these: a promise of the pipeline is broken.
	Uncovered Fate = "uncovered"
)

// Heard is one event of the customer, with its fate.
type Heard struct {
	Seq      uint64    `json:"seq"`
	StoredAt time.Time `json:"stored_at"`
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	// Created is when Stripe generated the event, to the second; zero if the body does not say.
	Created time.Time `json:"created,omitzero"`
	Fate    Fate      `json:"fate"`
	// CoveredBy is the sequence in STRIPE_SYNCED of the first record that covers the event.
	CoveredBy uint64 `json:"covered_by,omitempty"`
	// Repeat reports that the same event was stored before.
	Repeat bool `json:"repeat,omitempty"`
	// Damaged reports that the stored body differs from the one that arrived.
	Damaged bool `json:"damaged,omitempty"`
}

// A Sync is a record, interpreted with the records before it.
type Sync struct {
	// Seq is the record's sequence in STRIPE_SYNCED, StoredAt when it was stored.
	Seq      uint64        `json:"seq"`
	StoredAt time.Time     `json:"stored_at"`
	Record   record.Record `json:"record"`
	// Covers are the sequences of the events that no earlier sync had covered.
	Covers []uint64 `json:"covers,omitempty"`
	// Before is the last snapshot recorded before; nil if there is none. A sync without changes has
	// no snapshot in its record.
	Before *entitlement.Snapshot `json:"-"`
	// Changes are the differences from Before to the record's snapshot.
	Changes []Change `json:"changes,omitempty"`
	// Unannounced reports that the customer had changed and no event that had arrived reported it.
	Unannounced bool `json:"unannounced,omitempty"`
	// Vanished is set if the sync found that the snapshot had vanished from the bucket since the
	// previous write.
	Vanished *Gap `json:"vanished,omitempty"`
	// Retry reports that an earlier sync of the same marker failed, so the marker waited for the
	// retry.
	Retry bool `json:"retry,omitempty"`
	// Forgotten reports that this is not a sync, but the record that everything earlier was erased,
	// see [Log.Forget].
	Forgotten bool `json:"forgotten,omitempty"`
	// Unreadable is the reason if this version cannot read the record; Record is then empty, and the
	// record covers nothing.
	Unreadable string `json:"unreadable,omitempty"`
}

// A Change is an [entitlement.Difference] whose From and To are JSON, null for an absent value.
type Change struct {
	Path string          `json:"path"`
	From json.RawMessage `json:"from"`
	To   json.RawMessage `json:"to"`
}

// Changes returns the differences of two snapshots.
func Changes(from, to *entitlement.Snapshot) []Change {
	var list []Change
	for _, d := range entitlement.Diff(from, to) {
		list = append(list, Change{d.Path, orNull(d.From), orNull(d.To)})
	}
	return list
}

func orNull(s string) json.RawMessage {
	if s == "" {
		return json.RawMessage("null")
	}
	return json.RawMessage(s)
}

// Queued is how long the marker waited for a syncer; 0 for a sync without a marker.
func (s *Sync) Queued() time.Duration {
	if s.Record.ReceivedAt == nil {
		return 0
	}
	return max(0, s.Record.StartedAt.Sub(*s.Record.ReceivedAt))
}

// Paced is how long the sync waited for the end of the customer's window.
func (s *Sync) Paced() time.Duration { return time.Duration(s.Record.PaceMS) * time.Millisecond }

// Held is how long the sync waited for the budget. If its write was overtaken, it includes the time
// of the earlier readings.
func (s *Sync) Held() time.Duration {
	if s.Record.AsOf.IsZero() {
		return 0
	}
	return max(0, s.Record.AsOf.Sub(s.Record.StartedAt)-s.Paced())
}

// Working is the time for reading Stripe and writing.
func (s *Sync) Working() time.Duration {
	if s.Record.AsOf.IsZero() {
		return 0
	}
	total := time.Duration(s.Record.DurationMS) * time.Millisecond
	return max(0, total-s.Record.AsOf.Sub(s.Record.StartedAt))
}

// Succeeded reports whether the sync covers events.
func (s *Sync) Succeeded() bool {
	if s.Unreadable != "" {
		return s.Forgotten // the header says so, and the record has nothing else
	}
	return s.Record.Outcome != record.Failed && s.Record.Outcome != record.Parked
}

// Unreadable returns the records that this version cannot read, whose syncs the story lacks.
func (s *Story) Unreadable() []*Sync {
	var list []*Sync
	for _, y := range s.syncs() {
		if y.Unreadable != "" {
			list = append(list, y)
		}
	}
	return list
}

// Story reads everything known of a customer. marks are the event types that mark. It holds one
// line per event and all records of the customer in memory.
//
// It reads events, then markers, then records, so that a marker settled in between is found as a
// record.
func (l *Log) Story(ctx context.Context, c stripeevent.Customer, marks stripeevent.Types,
	now time.Time) (*Story, error) {
	events, err := l.heard(ctx, c, &marks)
	if err != nil {
		return nil, err
	}
	present, err := l.present(ctx, c, now)
	if err != nil {
		return nil, err
	}
	syncs, err := l.syncs(ctx, c)
	if err != nil {
		return nil, err
	}
	s := tell(c, events, syncs, present)
	if s.Gone() != nil {
		// The first snapshot may have been written after the bucket was read, or the replica may
		// lag. Check the leader before reporting a broken promise.
		if err := l.lookAgain(ctx, c, &s.Now); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// heard reads the customer's events, with fate [Kept].
func (l *Log) heard(ctx context.Context, c stripeevent.Customer, marks *stripeevent.Types) ([]*Heard, error) {
	account := c.Account
	if account == "" {
		account = Own
	}
	var list []*Heard
	var stored repeats.Events
	slice := Slice{Mode: c.Mode, Account: account, Customers: []string{c.ID}}
	err := l.Events(ctx, slice, EventsOptions{Bodies: true}, func(e *Event) error {
		h := &Heard{
			Seq: e.Seq, StoredAt: e.StoredAt, Type: e.Type, ID: e.ID, Repeat: stored.Seen(e.Customer, e.ID),
			Damaged: e.Digest != "" && !e.Intact(),
		}
		if envelope, err := stripeevent.Parse(e.Body); err == nil && envelope.Created > 0 {
			h.Created = time.Unix(envelope.Created, 0).UTC()
		}
		if !marks.Marks(e.Type) {
			h.Fate = Kept
		}
		list = append(list, h)
		return nil
	})
	return list, err
}

func (l *Log) syncs(ctx context.Context, c stripeevent.Customer) ([]*Sync, error) {
	var list []*Sync
	records := streams.Reading{Stream: topology.SyncedStream, Subjects: []string{stripeevent.SyncedSubject(c)}}
	for m, err := range streams.Messages(ctx, l.js, records) {
		if err != nil {
			return nil, err
		}
		s := &Sync{Seq: m.Seq, StoredAt: m.Stored.UTC(), Forgotten: m.Header.Get(stripeevent.ForgottenHeader) != ""}
		err = json.Unmarshal(m.Data, &s.Record)
		if err == nil && s.Record.Outcome == "" {
			err = errors.New("no outcome")
		}
		if err != nil {
			s.Record, s.Unreadable = record.Record{}, err.Error()
		}
		list = append(list, s)
	}
	return list, nil
}
