package audit

import (
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
)

// A Standing answers the first questions about a customer: does it have access, since when, and
// what granted or removed it. It is derived from the records and the bucket; anything that they do
// not show is reported as unknown.
type Standing struct {
	At time.Time `json:"at"`
	// Known is false if nothing remaining shows what apps saw.
	Known  bool `json:"known"`
	Access bool `json:"access"`
	// Status is that of the snapshot, "deleted" for a deleted customer, empty without a snapshot.
	Status string `json:"status,omitempty"`
	// How says how access came to be as it is.
	How How `json:"how"`
	// Since is when access changed; nil if unknown. AtLeastSince is then the earliest time since which
	// access is known to have been the same: the time of a record or, without one, of the start of the
	// reading that saw this content.
	Since        *time.Time `json:"since"`
	AtLeastSince *time.Time `json:"at_least_since,omitempty"`
	// Was and Became are the status before and after the sync that changed access. Was is empty if
	// it is not recorded, if First reports that there was no earlier snapshot, and if that had
	// vanished.
	Was    string `json:"was,omitempty"`
	Became string `json:"became,omitempty"`
	First  bool   `json:"first,omitempty"`
	// Vanished is set if access follows from a gap: the snapshot vanished from the bucket, until
	// the sync that wrote it again, or until now. For an instant within the gap, Known is false
	// unless the snapshot gave no access either.
	Vanished *Gap `json:"vanished,omitempty"`
	// Record is the sequence in STRIPE_SYNCED of the record behind this; 0 for none.
	Record   uint64 `json:"record,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	// Cause is what led to the sync, which is not necessarily what changed the customer at Stripe.
	// Its event is the one of the last marker before it.
	Cause entitlement.Cause `json:"cause,omitzero"`
	// Events are the distinct types of the events that came with the change: those that mark, that
	// no earlier sync had covered, and that arrived soon after this one. Stripe reports one change
	// in several events, and the first to arrive starts the sync.
	Events []string `json:"events,omitempty"`
	// AnnouncedBy is the one of these events that reports the change, if one does. Stripe attaches a
	// payment method before it creates the subscription, and the sync of the first event may see
	// the change that the second reports.
	AnnouncedBy *Announcement `json:"told_by,omitempty"`
	// Unannounced reports that no event that had arrived reported the change.
	Unannounced bool `json:"unannounced,omitempty"`
}

// An Announcement is an event that reports a change of access.
type Announcement struct {
	Event string `json:"event"`
	Type  string `json:"type"`
}

// How is the way in which access came to be as it is.
type How string

const (
	// BySync: the record of a sync changed access.
	BySync How = "sync"
	// ByItself: the end of access in the snapshot was reached.
	ByItself How = "ended"
	// Forgotten: the customer was forgotten by hand.
	Forgotten How = "forgotten"
	// Never: there never was access, from the first snapshot on, or there is no snapshot.
	Never How = "never"
	// Unrecorded: access changed between two records, or between the last one and the bucket, as
	// when the snapshot vanished.
	Unrecorded How = "unrecorded"
	// Unkept: no remaining record changed it, and they do not reach back to the first.
	Unkept How = "unkept"
	// Unreadable: the bucket has an entry that is not a snapshot.
	Unreadable How = "unreadable"
)

// A write is a sync that wrote the snapshot, or the record that everything was forgotten.
type write struct {
	*Sync
	// at is when it was recorded, or when a later write was recorded, if that was earlier.
	at time.Time
}

// writes returns the syncs that wrote, in the order of their writes. Two that end at once may be
// recorded in the opposite order. Their revisions and fetches together show it: revisions alone
// restart in a recreated bucket.
func writes(syncs []*Sync) []write {
	var list []write
	for _, y := range syncs {
		if !y.Succeeded() {
			continue
		}
		i := len(list)
		for i > 0 && !y.Forgotten && overtook(list[i-1].Sync, y) {
			i--
		}
		w := write{y, y.StoredAt}
		if i < len(list) {
			w.at = list[i].at
		}
		list = slices.Insert(list, i, w)
	}
	return list
}

// overtook reports whether a was recorded before b but written after it.
func overtook(a, b *Sync) bool {
	return !a.Forgotten && a.Record.Revision > b.Record.Revision && a.Record.AsOf.After(b.Record.AsOf)
}

func (s *Story) syncs() []*Sync {
	var list []*Sync
	for _, step := range s.Steps {
		if step.Sync != nil {
			list = append(list, step.Sync)
		}
	}
	return list
}

// Standing returns the present state: access is that of the bucket, which apps use.
func (s *Story) Standing() Standing {
	now := s.Now
	w := s.walk(now.At, func(y write) bool {
		// The bucket is read slightly later than the instant that it stands for.
		return !y.at.After(now.At) || now.Revision != 0 && !y.Forgotten && y.Record.Revision <= now.Revision
	})
	switch p, gone := now.Snapshot, s.Gone(); {
	case now.Unreadable != "":
		return Standing{At: now.At, How: Unreadable, Revision: now.Revision}
	case gone != nil:
		return missing(now.At, gone)
	case p == nil && w.wrote:
		// The customer is being forgotten, and the record of that is later than this instant.
		return Standing{At: now.At, Known: true, How: Unrecorded, Record: w.seq, Revision: w.revision}
	case p == nil, w.snapshot != nil && w.snapshot.Equal(p):
	case w.Known:
		w.unrecorded(p, 0, now.Revision)
	default:
		w.found(p)
	}
	w.pass(now.At)
	return w.Standing
}

// missing returns the state of a customer whose snapshot is missing from the bucket.
func missing(at time.Time, g *Gap) Standing {
	return Standing{At: at.UTC(), Known: true, How: Unrecorded, Record: g.Record, Revision: g.Revision, Vanished: g}
}

// StandingAt returns the state at an instant, consistent with [Story.ViewAt].
func (s *Story) StandingAt(at time.Time) Standing {
	w := s.walk(at, func(y write) bool { return !y.at.After(at) })
	if g := s.gapAt(at); g != nil {
		if g.over(at, s.Now.At) {
			return missing(at, g)
		}
		w.within(g, at)
		return w.Standing
	}
	if !w.Known {
		switch t := s.ViewAt(at); {
		case t.Known && t.Snapshot != nil:
			w.found(t.Snapshot)
		case t.Known:
			w.Known, w.How = true, Never
		}
	}
	w.pass(at)
	return w.Standing
}

// A walk follows the writes of a customer and tracks access. While Known, access is that of the
// snapshot.
type walk struct {
	Standing
	wrote         bool                  // there is a write since the customer was last forgotten
	snapshot      *entitlement.Snapshot // the last one recorded; nil for none
	seq, revision uint64                // of the last write, 0 for none
	gaps          map[*Sync]*Gap        // the ended gaps, by the syncs that ended them
	events        []*Heard              // the events that mark
	covered       uint64                // the writes so far cover events up to this sequence
}

// walk follows the writes up to the first that does not count.
func (s *Story) walk(at time.Time, counts func(write) bool) *walk {
	w := &walk{Standing: Standing{At: at.UTC(), How: Unkept}, gaps: map[*Sync]*Gap{}}
	for _, g := range gaps(s.syncs(), false) {
		w.gaps[g.ended] = g
	}
	for _, step := range s.Steps {
		if e := step.Event; e != nil && e.Fate != Kept {
			w.events = append(w.events, e)
		}
	}
	list := writes(s.syncs())
	for _, y := range list {
		if !counts(y) {
			break
		}
		w.write(y)
	}
	if len(list) == 0 && s.Now.Snapshot == nil {
		w.Known, w.How = true, Never
	}
	return w
}

// pass advances the time: access may end by itself.
func (w *walk) pass(at time.Time) {
	if w.snapshot == nil || !w.Access || w.snapshot.Allowed(at) {
		return
	}
	w.reset(ByItself)
	w.Access = false
	w.since(time.Unix(*w.snapshot.AccessUntil, 0))
	w.Record, w.Revision, w.Cause = w.seq, w.revision, w.snapshot.Cause
}

func (w *walk) since(t time.Time) {
	t = t.UTC()
	w.Since, w.AtLeastSince = &t, nil
}

func (w *walk) atLeastSince(t time.Time) {
	t = t.UTC()
	w.Since, w.AtLeastSince = nil, &t
}

// write follows one record.
func (w *walk) write(y write) {
	r, next, gap := &y.Record, y.Record.Snapshot, w.gaps[y.Sync]
	switch {
	case y.Forgotten:
		w.reset(Forgotten)
		w.Known, w.Access, w.Status, w.Record = true, false, "", y.Seq
		w.since(y.at)
		w.wrote, w.snapshot, w.seq, w.revision = false, nil, 0, 0
		return
	case next == nil:
		w.pass(y.at)
	case r.Outcome == record.Unchanged && w.Known && w.missing(y):
		w.unrecorded(next, y.Seq, r.Revision)
	case gap != nil:
		w.restore(y, gap)
	default:
		// It is a first snapshot, unless there was an earlier write.
		first := !w.wrote && (r.Outcome == record.Created || r.Outcome == record.Deleted && len(r.Changed) == 0)
		w.pass(y.at)
		w.before(y, first)
		w.after(y, first)
	}
	w.wrote, w.seq, w.revision, w.covered = true, y.Seq, r.Revision, max(w.covered, r.EventsSeq)
}

// together is the greatest distance between the events of one change, unless something delays them.
const together = 2 * time.Second

// announcement returns the types of the events that came with a write, and the event that best
// reports its change, the last of equal ones.
func (w *walk) announcement(y write) (types []string, by *Announcement) {
	best := 0
	for _, e := range w.events {
		if e.Seq <= w.covered || e.Seq > y.Record.EventsSeq && e.StoredAt.After(y.at.Add(together)) {
			continue
		}
		if !slices.Contains(types, e.Type) {
			types = append(types, e.Type)
		}
		if n := w.rates(e.Type, y.Record.Snapshot.Deleted); n > 0 && n >= best {
			best, by = n, &Announcement{Event: e.ID, Type: e.Type}
		}
	}
	return types, by
}

// rates returns how well an event of this type reports the last change of access: 0 for not at all.
func (w *walk) rates(typ string, deleted bool) int {
	expected := "customer.subscription.updated"
	switch {
	case deleted:
		expected = "customer.deleted"
	case !w.Access:
		expected = "customer.subscription.deleted"
	case w.First:
		expected = "customer.subscription.created"
	}
	switch {
	case typ == expected:
		return 2
	case strings.HasPrefix(typ, "customer.subscription."):
		return 1
	}
	return 0
}

// missing reports that there was an unrecorded write between the last one and this one, since it
// does not lead from the one content to the other.
func (w *walk) missing(y write) bool {
	var paths []string
	for _, d := range entitlement.Diff(w.snapshot, y.Record.Snapshot) {
		paths = append(paths, d.Path)
	}
	return !slices.Equal(paths, y.Record.Changed)
}

// before updates access to the state just before the write.
func (w *walk) before(y write, first bool) {
	next := y.Record.Snapshot
	flipped, moved := slices.Contains(y.Record.Changed, "access"), slices.Contains(y.Record.Changed, "access_until")
	how := Unkept
	switch {
	case first && !w.Known:
		w.reset(Never)
		w.atLeastSince(y.at)
		w.Known = true
		return
	case !w.Known:
	case first, !w.missing(y):
		return
	case w.snapshot != nil && !flipped && !moved && w.snapshot.Access == next.Access &&
		same(w.snapshot.AccessUntil, next.AccessUntil):
		return
	default:
		how = Unrecorded
	}
	// Of the earlier content only the changed fields are known.
	w.reset(how)
	w.Known, w.Status = true, ""
	if flipped && !next.Access && !moved {
		w.Access = true // without an end
		return
	}
	w.Access = next.Allowed(y.at) && !flipped
	w.atLeastSince(y.at)
	w.Record, w.Revision = y.Seq, y.Record.Revision
}

// restore follows a write that found the snapshot vanished: there was no access just before it.
func (w *walk) restore(y write, g *Gap) {
	lost := w.Access || !w.Known
	w.Known, w.Access, w.Status = true, false, ""
	w.after(y, false)
	if lost && !w.Access {
		w.reset(Unrecorded)
		w.atLeastSince(y.at)
		w.Became, w.Record, w.Revision = w.Status, y.Seq, y.Record.Revision
		w.Cause = entitlement.Cause{Trigger: y.Record.Trigger, Event: y.Record.Event, Type: y.Record.Type}
	}
	if lost || w.Access {
		w.Vanished = g
	}
}

// within derives what is known at an instant in a gap, after the last write before it.
func (w *walk) within(g *Gap, at time.Time) {
	if w.Known && !w.Access {
		return // no access with the snapshot, and none without
	}
	w.pass(at)
	end := w.Since // when it ended by itself, unless the snapshot vanished earlier
	known := w.Known && !w.Access
	w.reset(Unrecorded)
	w.Known, w.Access, w.Status, w.Vanished = known, false, "", g
	w.Record, w.Revision = g.Record, g.Revision
	if known {
		w.atLeastSince(*end)
	}
}

// after updates access to the state since the write.
func (w *walk) after(y write, first bool) {
	r, next := &y.Record, y.Record.Snapshot
	if allowed := next.Allowed(y.at); allowed != w.Access {
		was := w.Status
		w.reset(BySync)
		w.Access, w.Was, w.Became, w.First, w.Unannounced = allowed, was, statusOf(next), first, y.Unannounced
		w.since(y.at)
		w.Record, w.Revision = y.Seq, r.Revision
		w.Cause = entitlement.Cause{Trigger: r.Trigger, Event: r.Event, Type: r.Type}
		w.Events, w.AnnouncedBy = w.announcement(y)
	}
	w.snapshot, w.Status = next, statusOf(next)
}

// unrecorded sets a snapshot of a sync without a record, which wrote it soon after its as_of.
func (w *walk) unrecorded(next *entitlement.Snapshot, seq, revision uint64) {
	w.pass(next.ChangedAt)
	if allowed := next.Allowed(next.ChangedAt); allowed != w.Access {
		w.reset(Unrecorded)
		w.Access = allowed
		w.atLeastSince(next.ChangedAt)
		w.Record, w.Revision, w.Cause = seq, revision, next.Cause
	}
	w.snapshot, w.Status = next, statusOf(next)
	w.seq, w.revision = seq, revision
}

// found sets a snapshot that has been the same since before the remaining records.
func (w *walk) found(p *entitlement.Snapshot) {
	w.reset(Unkept)
	w.Known, w.Access = true, p.Allowed(p.ChangedAt)
	w.atLeastSince(p.ChangedAt)
	w.snapshot, w.Status, w.Cause = p, statusOf(p), p.Cause
	w.seq, w.revision = 0, 0
}

// reset forgets how access came to be as it is, but keeps access.
func (w *walk) reset(how How) {
	w.Standing = Standing{At: w.At, Known: w.Known, Access: w.Access, Status: w.Status, How: how}
}

func statusOf(s *entitlement.Snapshot) string {
	if s.Deleted {
		return "deleted"
	}
	return s.Status
}

func same(a, b *int64) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
