package audit

import (
	"slices"
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// underWay is how long after an event its marker, or the record of its sync, may be on its way.
const underWay = 5 * time.Second

// tell merges the events and syncs of a customer, each in stream order, into one story. It is pure.
func tell(c stripeevent.Customer, events []*Heard, syncs []*Sync, now Present) *Story {
	follow(syncs)
	retries(syncs)
	cover(events, syncs, now)
	s := &Story{Customer: c, Steps: make([]Step, 0, len(events)+len(syncs)), Now: now}
	for _, e := range events {
		s.Steps = append(s.Steps, Step{Event: e})
	}
	for _, y := range syncs {
		s.Steps = append(s.Steps, Step{Sync: y})
	}
	// One server assigned both times. An event sorts before its sync.
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return a.At().Compare(b.At()) })
	return s
}

// follow finds what each sync changed, and which syncs found that the snapshot had vanished.
func follow(syncs []*Sync) {
	for _, g := range gaps(syncs, false) {
		g.ended.Vanished = g
	}
	var before *entitlement.Snapshot
	for _, s := range writes(syncs) {
		if s.Forgotten {
			before = nil
			continue
		}
		s.Before = before
		if next := s.Record.Snapshot; next != nil {
			if before != nil || s.Record.Outcome == record.Created {
				s.Changes = Changes(before, next)
			}
			before = next
		}
	}
}

// retries finds the syncs whose marker was redelivered after a failure. The time distinguishes
// markers of a recreated stream with equal sequences.
func retries(syncs []*Sync) {
	type marker struct {
		seq      uint64
		received int64
	}
	failed := make(map[marker]bool)
	for _, s := range syncs {
		if s.Record.MarkerSeq == 0 || s.Record.ReceivedAt == nil {
			continue
		}
		m := marker{s.Record.MarkerSeq, s.Record.ReceivedAt.UnixNano()}
		s.Retry = failed[m]
		failed[m] = failed[m] || s.Record.Outcome == record.Failed
	}
}

// cover sets the fate of every event that marks, and finds the changes that no event had reported.
func cover(events []*Heard, syncs []*Sync, now Present) {
	next := 0 // the first event not covered so far
	for _, s := range syncs {
		if !s.Succeeded() {
			continue
		}
		announced := false
		for ; next < len(events) && events[next].Seq <= s.Record.EventsSeq; next++ {
			e := events[next]
			if e.Fate == Kept {
				continue
			}
			e.Fate, e.CoveredBy = Covered, s.Seq
			s.Covers = append(s.Covers, e.Seq)
			announced = true
		}
		changed := s.Record.Outcome == record.Changed || s.Record.Outcome == record.Deleted
		// The marker's own event may have been stored and covered long before, because Stripe
		// repeats events.
		s.Unannounced = changed && !announced && !s.Forgotten && s.Record.Trigger != stripeevent.TriggerWebhook
	}
	parked := now.Failure != nil && now.Failure.ParkedAt != nil
	for _, e := range events[next:] {
		switch {
		case e.Fate == Kept:
		case parked && len(now.Markers) == 0 && !e.StoredAt.After(triedAt(syncs, now)):
			e.Fate = SetAside // however young, since its marker is gone
		case len(now.Markers) > 0 || now.At.Sub(e.StoredAt) < underWay:
			e.Fate = Waiting
		case parked:
			e.Fate = SetAside
		default:
			e.Fate = Uncovered
		}
	}
}

// triedAt returns when a parked customer was last tried, by the clock of the events if there is a
// record of it.
func triedAt(syncs []*Sync, now Present) time.Time {
	for _, s := range slices.Backward(syncs) {
		if s.Record.Outcome == record.Parked {
			return s.StoredAt
		}
	}
	return now.Failure.LastAt
}

// Uncovered returns the events that nothing covers or will cover.
func (s *Story) Uncovered() []*Heard {
	return s.withFate(Uncovered)
}

// Waiting returns the events that a sync will cover: their marker is pending, or so young that it
// may be on its way.
func (s *Story) Waiting() []*Heard {
	return s.withFate(Waiting)
}

func (s *Story) withFate(f Fate) []*Heard {
	var list []*Heard
	for _, step := range s.Steps {
		if step.Event != nil && step.Event.Fate == f {
			list = append(list, step.Event)
		}
	}
	return list
}

// Waits reports whether a syncer still has work for the customer.
func (s *Story) Waits() bool {
	return len(s.Now.Markers) > 0 || len(s.Waiting()) > 0 || len(s.Uncovered()) > 0 || s.Gone() != nil
}

// Empty reports whether nothing is known of the customer.
func (s *Story) Empty() bool {
	return len(s.Steps) == 0 && s.gone() && len(s.Now.Markers) == 0 && s.Now.Failure == nil && s.Now.NextLook == nil
}

// View is what an app would have seen at an instant.
type View struct {
	At time.Time `json:"at"`
	// Known is false if the records do not reach back so far.
	Known bool `json:"known"`
	// Snapshot was the one in the bucket; nil for none, which denies access.
	Snapshot *entitlement.Snapshot `json:"snapshot"`
	// Allowed is the access at that instant.
	Allowed bool `json:"allowed"`
	// AsOf is when Stripe had last been read.
	AsOf time.Time `json:"as_of,omitzero"`
	// Revision is that of the last earlier write, Sync the record that created the content.
	Revision uint64 `json:"revision,omitempty"`
	// Underway are the events that mark, that Stripe had generated, and that no sync had covered
	// yet. They may not have arrived.
	Underway []*Heard `json:"underway,omitempty"`
	// Failing is the customer's last earlier sync, if it had failed.
	Failing *Sync `json:"failing,omitempty"`
	// Sync is the one that created the content; nil if the records do not reach back to it.
	Sync *Sync `json:"-"`
	// Vanished is set if the snapshot vanished from the bucket in a time that contains the instant.
	// Known is then false, unless the snapshot gave no access either or was certainly missing.
	Vanished *Gap `json:"vanished,omitempty"`
	// Unreadable is the sequence of an unreadable record since the last write, whose snapshot apps
	// may have seen; 0 for none.
	Unreadable uint64 `json:"unreadable,omitempty"`
}

// settled is the time after its reading within which a snapshot was certainly written, even by a
// backfill of many millions.
const settled = 24 * time.Hour

// ViewAt returns what an app would have seen at an instant: the last snapshot recorded before it,
// with access at that time.
func (s *Story) ViewAt(at time.Time) View {
	t := View{At: at.UTC(), Known: true}
	var oldest *Sync   // the first that wrote
	var last time.Time // when the last one before the instant wrote
	later := false     // the content changed after the instant
	for _, y := range writes(s.syncs()) {
		if y.Forgotten {
			// The state before it is unknown now; the following starts from nothing.
			t.Known, t.Snapshot, t.Sync, oldest, later = !y.at.After(at), nil, nil, y.Sync, false
			t.AsOf, t.Revision = time.Time{}, 0
			last = y.at
			continue
		}
		if oldest == nil {
			oldest = y.Sync
		}
		if y.at.After(at) {
			later = later || y.Record.Snapshot != nil
			continue
		}
		t.AsOf, t.Revision, last = y.Record.AsOf, y.Record.Revision, y.at
		if y.Record.Snapshot != nil {
			t.Snapshot, t.Sync = y.Record.Snapshot, y.Sync
		}
	}
	now := s.Now.Snapshot
	switch {
	case t.Snapshot != nil || oldest != nil && oldest.Forgotten:
	case !later && now != nil && (t.Revision != 0 && !now.ChangedAt.After(t.AsOf) ||
		!now.ChangedAt.IsZero() && !now.ChangedAt.Add(settled).After(at)):
		// It has not changed since, as far back as the records go, or has its own changed_at.
		t.Snapshot = now
		if t.AsOf.IsZero() {
			t.AsOf = now.ChangedAt
		}
	case oldest == nil:
		// The records of an existing snapshot are gone.
		t.Known = now == nil
	default:
		// Either the first record created the first snapshot, or earlier records are gone.
		t.Known = t.Revision == 0 && oldest.Record.Outcome == record.Created
	}
	if t.Vanished = s.gapAt(at); t.Vanished != nil {
		switch {
		case t.Vanished.over(at, s.Now.At):
			t.Known, t.Snapshot, t.Sync = true, nil, nil
		case t.Snapshot == nil || t.Snapshot.Allowed(at):
			t.Known, t.Snapshot, t.Sync = false, nil, nil
		}
	}
	if t.Snapshot != nil {
		t.Allowed = t.Snapshot.Allowed(at)
	}
	for _, y := range s.Unreadable() {
		if y.StoredAt.After(last) && !y.StoredAt.After(at) {
			t.Unreadable = y.Seq
		}
	}
	s.underway(&t)
	return t
}

// underway finds the events that were still to be covered at the instant.
func (s *Story) underway(t *View) {
	ended := make(map[uint64]time.Time) // when the syncs ended, by their records
	for _, step := range s.Steps {
		if y := step.Sync; y != nil {
			ended[y.Seq] = y.StoredAt
			if y.Unreadable == "" && !y.StoredAt.After(t.At) {
				t.Failing = nil
				if !y.Succeeded() {
					t.Failing = y
				}
			}
		}
	}
	for _, step := range s.Steps {
		e := step.Event
		if e == nil || e.Fate == Kept || e.Repeat {
			continue
		}
		began := e.StoredAt
		if !e.Created.IsZero() && e.Created.Before(began) {
			began = e.Created
		}
		if end, covered := ended[e.CoveredBy]; !began.After(t.At) && (!covered || end.After(t.At)) {
			t.Underway = append(t.Underway, e)
		}
	}
}
