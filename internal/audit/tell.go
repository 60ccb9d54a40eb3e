package audit

import (
	"slices"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// underWay is how long after an event its marker may be on its way, or its sync's record.
const underWay = 5 * time.Second

// tell puts events and syncs of one customer, each in the order of its stream, into one story. It is pure.
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
	// One server gave both their times. An event comes before what it led to.
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return a.At().Compare(b.At()) })
	return s
}

// follow finds what each sync changed, and which found that the snapshot had vanished.
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
			if before != nil || s.Record.Outcome == syncer.Created {
				s.Changes = Changes(before, next)
			}
			before = next
		}
	}
}

// retries finds the syncs whose marker came back after a failure. The time tells a marker from that of a stream that was made anew.
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
		failed[m] = failed[m] || s.Record.Outcome == syncer.Failed
	}
}

// cover gives every event that marks its fate, and says which changes no event had told of.
func cover(events []*Heard, syncs []*Sync, now Present) {
	next := 0 // the first event that no sync so far covers
	for _, s := range syncs {
		if !s.Succeeded() {
			continue
		}
		told := false
		for ; next < len(events) && events[next].Seq <= s.Record.EventsSeq; next++ {
			e := events[next]
			if e.Fate == Kept {
				continue
			}
			e.Fate, e.CoveredBy = Covered, s.Seq
			s.Covers = append(s.Covers, e.Seq)
			told = true
		}
		changed := s.Record.Outcome == syncer.Changed || s.Record.Outcome == syncer.Deleted
		// The marker's own event may have been stored, and covered, long before: Stripe repeats.
		s.Unannounced = changed && !told && !s.Forgotten && s.Record.Trigger != stripeevent.TriggerWebhook
	}
	parked := now.Failure != nil && now.Failure.ParkedAt != nil
	for _, e := range events[next:] {
		switch {
		case e.Fate == Kept:
		case parked && len(now.Markers) == 0 && !e.StoredAt.After(triedAt(syncs, now)):
			e.Fate = SetAside // however young: its marker is gone
		case len(now.Markers) > 0 || now.At.Sub(e.StoredAt) < underWay:
			e.Fate = Waiting
		case parked:
			e.Fate = SetAside
		default:
			e.Fate = Uncovered
		}
	}
}

// triedAt is when a parked customer was tried last, by the clock that dates events if there is a record of it.
func triedAt(syncs []*Sync, now Present) time.Time {
	for _, s := range slices.Backward(syncs) {
		if s.Record.Outcome == syncer.Parked {
			return s.StoredAt
		}
	}
	return now.Failure.LastAt
}

// Uncovered are the events that nothing covers or will.
func (s *Story) Uncovered() []*Heard {
	return s.withFate(Uncovered)
}

// Waiting are the events that a sync is still to cover: their marker is pending, or so young that it may be on its way.
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

// Waits says that something is left for a syncer to do.
func (s *Story) Waits() bool {
	return len(s.Now.Markers) > 0 || len(s.Waiting()) > 0 || len(s.Uncovered()) > 0 || s.Gone() != nil
}

// Empty says that nothing is known of the customer.
func (s *Story) Empty() bool {
	return len(s.Steps) == 0 && s.gone() && len(s.Now.Markers) == 0 && s.Now.Failure == nil && s.Now.NextLook == nil
}

// Told is what an app would have been told at an instant.
type Told struct {
	At time.Time `json:"at"`
	// Known is false where the records do not reach back so far.
	Known bool `json:"known"`
	// Snapshot is the one that stood in the bucket; nil for none, which denies.
	Snapshot *entitlement.Snapshot `json:"snapshot"`
	// Allowed is the access at that instant.
	Allowed bool `json:"allowed"`
	// AsOf is when Stripe had been read last.
	AsOf time.Time `json:"as_of,omitzero"`
	// Revision is of the last write before, and Sync the record that made the content.
	Revision uint64 `json:"revision,omitempty"`
	// Underway are the events that mark, and that Stripe had generated and no sync had covered yet: they may not have arrived.
	Underway []*Heard `json:"underway,omitempty"`
	// Failing is the customer's last sync before, if that had failed.
	Failing *Sync `json:"failing,omitempty"`
	// Sync is the one that made the content; nil where the records do not reach back to it.
	Sync *Sync `json:"-"`
	// Vanished is there where the instant is in a time in which the snapshot vanished from the bucket. Known is then false, unless the
	// snapshot gave no access either or was gone for certain.
	Vanished *Gap `json:"vanished,omitempty"`
	// Unreadable is the sequence of a record since the last write that cannot be read: what an app was told may be what that sync wrote. 0 for none.
	Unreadable uint64 `json:"unreadable,omitempty"`
}

// settled is how long after its reading a snapshot was written for certain, be it by a backfill of many millions.
const settled = 24 * time.Hour

// Told says what an app would have been told at an instant: the last snapshot recorded before it, with access as of then.
func (s *Story) Told(at time.Time) Told {
	t := Told{At: at.UTC(), Known: true}
	var oldest *Sync   // of those that wrote
	var last time.Time // when the last of them did before the instant
	later := false     // the content changed after the instant
	for _, y := range writes(s.syncs()) {
		if y.Forgotten {
			// What stood before it cannot be told any more; what follows starts from nothing.
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
	case !later && now != nil && (t.Revision != 0 && !now.ChangedAt.After(t.AsOf) || !now.ChangedAt.IsZero() && !now.ChangedAt.Add(settled).After(at)):
		// It has not changed since, as far back as the records go, or says itself since when.
		t.Snapshot = now
		if t.AsOf.IsZero() {
			t.AsOf = now.ChangedAt
		}
	case oldest == nil:
		// The records of a snapshot that is there are gone.
		t.Known = now == nil
	default:
		// The first record made the first snapshot, or it did not and those before are gone.
		t.Known = t.Revision == 0 && oldest.Record.Outcome == syncer.Created
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

// underway finds what was to come at the instant.
func (s *Story) underway(t *Told) {
	ended := make(map[uint64]time.Time) // the syncs, by their records
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
