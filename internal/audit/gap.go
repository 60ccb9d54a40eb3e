package audit

import (
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// A Gap is a time in which the bucket lost the snapshot of a customer whom nobody had forgotten: somebody emptied the bucket, removed the
// entry, or put something in its place that is no snapshot. When it went is not recorded. Until then apps were told what it says, and no
// access from then on.
type Gap struct {
	// After is when the last write before was recorded: the snapshot was there then. Record and Revision are that write's.
	After    time.Time `json:"after"`
	Record   uint64    `json:"record"`
	Revision uint64    `json:"revision"`
	// Access and Status are the snapshot's as of then; null and empty where no record that is kept has it.
	Access *bool  `json:"access"`
	Status string `json:"status,omitempty"`
	// Until is when the sync was recorded that wrote a snapshot again; null while it is gone.
	Until *time.Time `json:"until"`

	ended *Sync // that sync
}

// gaps are those that the records prove, in order: a write that found no snapshot, though a write before had made one. With gone, the bucket has
// none now, and the last gap is not over.
func gaps(syncs []*Sync, gone bool) []*Gap {
	before := make(map[*Sync]*Sync) // the records, by those that followed
	for i := 1; i < len(syncs); i++ {
		before[syncs[i]] = syncs[i-1]
	}
	var list []*Gap
	var next *Gap // begins with the last write, if it begins
	var last *syncer.Record
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

// foundNone says that the sync found no snapshot in the bucket. before is the record before it, nil for none.
func (s *Sync) foundNone(before *Sync) bool {
	// One that was killed between a write and its record leaves the record later, and does not know then what it had found: it records no
	// changes, and takes the snapshot for a first one where the last record is of a failure.
	sweep := s.Record.Trigger == stripeevent.TriggerSweep || s.Record.Trigger == stripeevent.TriggerBackfill
	switch s.Record.Outcome {
	case syncer.Created:
		return !sweep || before == nil || before.Succeeded()
	case syncer.Deleted:
		return !sweep && len(s.Record.Changed) == 0
	}
	return false
}

// sameWrite says that a record was stored twice, as when its PubAck was lost. Revisions alone begin anew with a bucket that was created anew.
func sameWrite(a, b *syncer.Record) bool { return a.Revision == b.Revision && a.AsOf.Equal(b.AsOf) }

// gone says that the bucket has nothing of the customer.
func (s *Story) gone() bool { return s.Now.Snapshot == nil && s.Now.Unreadable == "" }

// Gone is the gap that is not over: the snapshot is missing from the bucket now. It is nil where the snapshot is there, never was, or was
// forgotten.
func (s *Story) Gone() *Gap {
	list := gaps(s.syncs(), s.gone())
	if n := len(list); n > 0 && list[n-1].Until == nil {
		return list[n-1]
	}
	return nil
}

// gapAt is the gap that an instant is in, nil for none.
func (s *Story) gapAt(at time.Time) *Gap {
	for _, g := range gaps(s.syncs(), s.gone()) {
		if at.After(g.After) && (g.Until == nil || at.Before(*g.Until)) {
			return g
		}
	}
	return nil
}

// over says that at an instant in the gap the snapshot had gone for certain: the bucket has been looked at, and it was not there.
func (g *Gap) over(at, looked time.Time) bool { return g.Until == nil && !at.Before(looked) }
