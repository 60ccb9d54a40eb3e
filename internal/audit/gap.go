package audit

import (
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// A Gap is a time in which the bucket lacked the snapshot of a customer that was not forgotten: the
// bucket was purged, the entry was removed, or replaced by something that is not a snapshot. The
// time of the loss is not recorded. Before it apps saw the snapshot, and after it no access.
type Gap struct {
	// After is when the last earlier write was recorded: the snapshot existed then. Record and
	// Revision are those of that write.
	After    time.Time `json:"after"`
	Record   uint64    `json:"record"`
	Revision uint64    `json:"revision"`
	// Access and Status are those of the snapshot at that time; null and empty if no remaining
	// record has it.
	Access *bool  `json:"access"`
	Status string `json:"status,omitempty"`
	// Until is when the sync was recorded that wrote a snapshot again; null while it is missing.
	Until *time.Time `json:"until"`

	ended *Sync // that sync
}

// gaps returns the gaps that the records prove, in order: a write that found no snapshot although
// an earlier write had created one. If gone is true, the bucket has none now, and the last gap has
// not ended.
func gaps(syncs []*Sync, gone bool) []*Gap {
	before := make(map[*Sync]*Sync) // each record's predecessor
	for i := 1; i < len(syncs); i++ {
		before[syncs[i]] = syncs[i-1]
	}
	var list []*Gap
	var next *Gap // would begin with the last write
	var last *record.Record
	var snapshot *entitlement.Snapshot
	for _, y := range writes(syncs) {
		if y.Forgotten {
			next, snapshot = nil, nil
			continue
		}
		if next != nil && y.foundNone(before[y.Sync]) && !sameWrite(last, &y.Record) {
			until := y.at
			next.Until, next.ended = &until, y.Sync
			list = append(list, next)
		}
		if y.Record.Snapshot != nil {
			snapshot = y.Record.Snapshot
		}
		last = &y.Record
		next = &Gap{After: y.at, Record: y.Seq, Revision: y.Record.Revision}
		if snapshot != nil {
			access := snapshot.Allowed(y.at)
			next.Access, next.Status = &access, statusOf(snapshot)
		}
	}
	if gone && next != nil {
		list = append(list, next)
	}
	return list
}

// foundNone reports whether the sync found no snapshot in the bucket. before is the preceding
// record, nil for none.
func (s *Sync) foundNone(before *Sync) bool {
	// A sync that was killed between its write and its record stores the record later, without
	// knowing what it had found: it records no changes, and takes the snapshot for the first one if
	// the last record is of a failure.
	sweep := s.Record.Trigger == stripeevent.TriggerSweep || s.Record.Trigger == stripeevent.TriggerBackfill
	switch s.Record.Outcome {
	case record.Created:
		return !sweep || before == nil || before.Succeeded()
	case record.Deleted:
		return !sweep && len(s.Record.Changed) == 0
	}
	return false
}

// sameWrite reports whether a record was stored twice, as after a lost PubAck. Revisions alone do
// not tell, since they restart in a recreated bucket.
func sameWrite(a, b *record.Record) bool { return a.Revision == b.Revision && a.AsOf.Equal(b.AsOf) }

// gone reports whether the bucket has nothing of the customer.
func (s *Story) gone() bool { return s.Now.Snapshot == nil && s.Now.Unreadable == "" }

// Gone returns the gap that has not ended: the snapshot is missing from the bucket now. It is nil
// if the snapshot exists, never existed, or was forgotten.
func (s *Story) Gone() *Gap {
	list := gaps(s.syncs(), s.gone())
	if n := len(list); n > 0 && list[n-1].Until == nil {
		return list[n-1]
	}
	return nil
}

// gapAt returns the gap that contains an instant, nil for none.
func (s *Story) gapAt(at time.Time) *Gap {
	for _, g := range gaps(s.syncs(), s.gone()) {
		if at.After(g.After) && (g.Until == nil || at.Before(*g.Until)) {
			return g
		}
	}
	return nil
}

// over reports whether at an instant in the gap the snapshot was certainly missing, because the
// bucket had been checked without finding it.
func (g *Gap) over(at, looked time.Time) bool { return g.Until == nil && !at.Before(looked) }
