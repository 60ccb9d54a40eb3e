package audit

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

// A Story is what became of one customer, in order, and how it stands.
type Story struct {
	Customer stripeevent.Customer `json:"-"`
	Steps    []Step               `json:"steps"`
	Now      Present              `json:"now"`
}

// A Step is an event that came or a sync that ended: one of the two is set.
type Step struct {
	Event *Heard `json:"event,omitempty"`
	Sync  *Sync  `json:"sync,omitempty"`
}

// At is when the step was stored.
func (s Step) At() time.Time {
	if s.Event != nil {
		return s.Event.StoredAt
	}
	return s.Sync.StoredAt
}

// Fate is what became of an event.
type Fate string

const (
	// Kept events mark nobody: they are in the log, and no sync follows.
	Kept Fate = "kept"
	// Covered events came before a fetch that ended in a snapshot.
	Covered Fate = "covered"
	// Waiting events have a marker of their customer pending, or are so young that it may be on its way.
	Waiting Fate = "waiting"
	// Set aside events belong to a customer that is parked.
	SetAside Fate = "parked"
	// Uncovered events have none of these: what the pipeline promises does not hold.
	Uncovered Fate = "uncovered"
)

// Heard is one event of the customer, and what became of it.
type Heard struct {
	Seq      uint64    `json:"seq"`
	StoredAt time.Time `json:"stored_at"`
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	// Created is when Stripe generated it, to the second; zero where the body does not say.
	Created time.Time `json:"created,omitzero"`
	Fate    Fate      `json:"fate"`
	// CoveredBy is the sequence in STRIPE_SYNCED of the first record that covers it.
	CoveredBy uint64 `json:"covered_by,omitempty"`
	// Repeat says that the same event is in the log before.
	Repeat bool `json:"repeat,omitempty"`
	// Damaged says that the stored body is not the one that arrived.
	Damaged bool `json:"damaged,omitempty"`
}

// A Sync is a record, and what it means beside the records before.
type Sync struct {
	// Seq is the record's sequence in STRIPE_SYNCED, StoredAt when it was stored there.
	Seq      uint64        `json:"seq"`
	StoredAt time.Time     `json:"stored_at"`
	Record   syncer.Record `json:"record"`
	// Covers are the sequences of the events that no sync before had covered.
	Covers []uint64 `json:"covers,omitempty"`
	// Before is the last snapshot recorded before; nil where there is none. A sync that changed nothing has no snapshot.
	Before *entitlement.Snapshot `json:"-"`
	// Changes are from Before to the record's snapshot.
	Changes []Change `json:"changes,omitempty"`
	// Unannounced says that the customer had changed and no event that had arrived told of it.
	Unannounced bool `json:"unannounced,omitempty"`
	// Vanished is there where the sync found that the snapshot had vanished from the bucket since the write before.
	Vanished *Gap `json:"vanished,omitempty"`
	// Retry says that a sync for the same marker had failed before: what it waited for is another try.
	Retry bool `json:"retry,omitempty"`
	// Forgotten says that this is no sync: all that was recorded before was erased, see [Log.Forget].
	Forgotten bool `json:"forgotten,omitempty"`
	// Unreadable says why this is no record that this version can read; Record is then empty. It covers nothing.
	Unreadable string `json:"unreadable,omitempty"`
}

// A Change is an [entitlement.Difference]; From and To are JSON, null where there is nothing.
type Change struct {
	Path string          `json:"path"`
	From json.RawMessage `json:"from"`
	To   json.RawMessage `json:"to"`
}

// Changes are the differences of two snapshots.
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

// Queued is how long the marker waited until a syncer took it; 0 for a sync without one.
func (s *Sync) Queued() time.Duration {
	if s.Record.ReceivedAt == nil {
		return 0
	}
	return max(0, s.Record.StartedAt.Sub(*s.Record.ReceivedAt))
}

// Paced is how long it waited for the end of the customer's window.
func (s *Sync) Paced() time.Duration { return time.Duration(s.Record.PaceMS) * time.Millisecond }

// Held is how long it waited for the fleet's budget; with it, in a sync whose write came too late, goes what the readings before
// took.
func (s *Sync) Held() time.Duration {
	if s.Record.AsOf.IsZero() {
		return 0
	}
	return max(0, s.Record.AsOf.Sub(s.Record.StartedAt)-s.Paced())
}

// Working is how long reading Stripe and writing took.
func (s *Sync) Working() time.Duration {
	if s.Record.AsOf.IsZero() {
		return 0
	}
	total := time.Duration(s.Record.DurationMS) * time.Millisecond
	return max(0, total-s.Record.AsOf.Sub(s.Record.StartedAt))
}

// Succeeded says that it covers events.
func (s *Sync) Succeeded() bool {
	if s.Unreadable != "" {
		return s.Forgotten // its header says so, and that is all there is to it
	}
	return s.Record.Outcome != syncer.Failed && s.Record.Outcome != syncer.Parked
}

// Unreadable are the records that this version cannot read: what they say of a sync is not in the story.
func (s *Story) Unreadable() []*Sync {
	var list []*Sync
	for _, y := range s.syncs() {
		if y.Unreadable != "" {
			list = append(list, y)
		}
	}
	return list
}

// Story reads what is known of a customer. marks are the event types that mark one. It holds one line of each event, and all
// records, of the one customer.
//
// Events are read first, then markers, then records: a marker that a sync settles in between is found as a record.
func (l *Log) Story(ctx context.Context, c stripeevent.Customer, marks stripeevent.Types, now time.Time) (*Story, error) {
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
		// The first snapshot may have been written after the bucket was read, or the replica that was asked lags. Look again before crying for help.
		if err := l.lookAgain(ctx, c, &s.Now); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// heard reads the customer's events, with no fate but [Kept] yet.
func (l *Log) heard(ctx context.Context, c stripeevent.Customer, marks *stripeevent.Types) ([]*Heard, error) {
	account := c.Account
	if account == "" {
		account = Own
	}
	var list []*Heard
	var repeats Repeats
	slice := Slice{Mode: c.Mode, Account: account, Customer: c.ID}
	err := l.Events(ctx, slice, EventsOptions{Bodies: true}, func(e *Event) error {
		h := &Heard{Seq: e.Seq, StoredAt: e.StoredAt, Type: e.Type, ID: e.ID, Repeat: repeats.Seen(e), Damaged: e.Digest != "" && !e.Intact()}
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
	r := reading{stream: topology.SyncedStream, filters: []string{stripeevent.SyncedSubject(c)}}
	err := l.read(ctx, r, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) (bool, error) {
		s := &Sync{Seq: meta.Sequence.Stream, StoredAt: meta.Timestamp.UTC(), Forgotten: msg.Headers().Get(stripeevent.ForgottenHeader) != ""}
		err := json.Unmarshal(msg.Data(), &s.Record)
		if err == nil && s.Record.Outcome == "" {
			err = errors.New("no outcome")
		}
		if err != nil {
			s.Record, s.Unreadable = syncer.Record{}, err.Error()
		}
		list = append(list, s)
		return true, nil
	})
	return list, err
}
