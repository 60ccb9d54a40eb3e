package audit

import (
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/syncer"
)

// A Standing answers what people ask first: has the customer access, since when, and what gave or took it. All of it is read off the
// records and the bucket; what they do not tell is said to be unknown.
type Standing struct {
	At time.Time `json:"at"`
	// Known is false where nothing that is kept tells what an app was told.
	Known  bool `json:"known"`
	Access bool `json:"access"`
	// Status is that of the snapshot, "deleted" of a customer that is no more, empty without a snapshot.
	Status string `json:"status,omitempty"`
	// How access came to be as it is.
	How How `json:"how"`
	// Since is when access changed; nil where that is not known. AtLeastSince is then how far back it is known to have been the same:
	// the time of a record, or, without one, when the reading of Stripe began whose content it was.
	Since        *time.Time `json:"since"`
	AtLeastSince *time.Time `json:"at_least_since,omitempty"`
	// Was and Became are the status before and after the sync that changed access; Was is empty where that is not recorded, where
	// First says that there was no snapshot before, and where it had vanished.
	Was    string `json:"was,omitempty"`
	Became string `json:"became,omitempty"`
	First  bool   `json:"first,omitempty"`
	// Vanished is there where access is what it is because the snapshot had vanished from the bucket: until the sync that wrote it again,
	// or to this day. Where the instant is within the gap, Known is false unless there was no access with the snapshot either.
	Vanished *Gap `json:"vanished,omitempty"`
	// Record is the sequence in STRIPE_SYNCED of the record that this is read off; 0 for none.
	Record   uint64 `json:"record,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	// Cause is what led to the sync: not what changed the customer at Stripe. The event is the one that was marked last before it.
	Cause entitlement.Cause `json:"cause,omitzero"`
	// Events are the types of the events that came with the change, each once: those that mark, that no sync before had covered, and
	// that had come soon after this one. Stripe tells of one change in several, and the first to come starts the sync.
	Events []string `json:"events,omitempty"`
	// ToldBy is the one of these events that tells of the change, where one does. Stripe attaches a payment method before it
	// creates the subscription, and a sync that the first event led to may see what the second tells of.
	ToldBy *Telling `json:"told_by,omitempty"`
	// Unannounced says that no event that had arrived told of the change.
	Unannounced bool `json:"unannounced,omitempty"`
}

// A Telling is an event that tells of a change of access.
type Telling struct {
	Event string `json:"event"`
	Type  string `json:"type"`
}

// How is what made access what it is.
type How string

const (
	// BySync: the record of a sync says that it changed access.
	BySync How = "sync"
	// ByItself: the time came that the snapshot had named as the end of access.
	ByItself How = "ended"
	// Forgotten: the customer was forgotten by hand.
	Forgotten How = "forgotten"
	// Never: the records begin with the first snapshot, or there is none, and none had access.
	Never How = "never"
	// Unrecorded: access changed between two records, or between the last one and the bucket, as where the snapshot vanished.
	Unrecorded How = "unrecorded"
	// Unkept: no record that is kept changed it, and they do not reach back to the first.
	Unkept How = "unkept"
	// Unreadable: the bucket holds something that is no snapshot.
	Unreadable How = "unreadable"
)

// A write is a sync that wrote the snapshot, or the record that all was forgotten.
type write struct {
	*Sync
	// at is when it was recorded, or when a later write was, if that was recorded before.
	at time.Time
}

// writes are the syncs that wrote, in the order in which they did. Two that end at once may be recorded in the other order. Then the
// revision tells, and so does the fetch: revisions alone begin anew with a bucket that was created anew.
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

// overtook says that a was recorded before b, but written after it.
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

// Standing is how the customer stands now: access is that of the bucket, which is what apps go by.
func (s *Story) Standing() Standing {
	now := s.Now
	w := s.walk(now.At, func(y write) bool {
		// The bucket is read a little later than the instant that it counts for.
		return !y.at.After(now.At) || now.Revision != 0 && !y.Forgotten && y.Record.Revision <= now.Revision
	})
	switch p, gone := now.Snapshot, s.Gone(); {
	case now.Unreadable != "":
		return Standing{At: now.At, How: Unreadable, Revision: now.Revision}
	case gone != nil:
		return missing(now.At, gone)
	case p == nil && w.wrote:
		// It is being forgotten, and the record of that came after this instant.
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

// missing is how a customer stands whose snapshot is gone from the bucket.
func missing(at time.Time, g *Gap) Standing {
	return Standing{At: at.UTC(), Known: true, How: Unrecorded, Record: g.Record, Revision: g.Revision, Vanished: g}
}

// StandingAt is how the customer stood at an instant, as [Story.Told] has it.
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
		switch t := s.Told(at); {
		case t.Known && t.Snapshot != nil:
			w.found(t.Snapshot)
		case t.Known:
			w.Known, w.How = true, Never
		}
	}
	w.pass(at)
	return w.Standing
}

// A walk goes through the writes of a customer and keeps track of access. While Known, access is what the snapshot allows.
type walk struct {
	Standing
	wrote         bool                  // there is a write that no forgetting followed
	snapshot      *entitlement.Snapshot // the last one recorded; nil for none
	seq, revision uint64                // of the last write, 0 for none
	gaps          map[*Sync]*Gap        // those that are over, by the syncs that ended them
	events        []*Heard              // those that mark
	covered       uint64                // events up to this sequence are covered by a write so far
}

// walk goes through the writes up to the first that does not count.
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

// pass lets time go by: access may end by itself.
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

// write takes one record into account.
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
	case r.Outcome == syncer.Unchanged && w.Known && w.missing(y):
		w.unrecorded(next, y.Seq, r.Revision)
	case gap != nil:
		w.restore(y, gap)
	default:
		// A first one, but not if there was a write before: what that had made was there.
		first := !w.wrote && (r.Outcome == syncer.Created || r.Outcome == syncer.Deleted && len(r.Changed) == 0)
		w.pass(y.at)
		w.before(y, first)
		w.after(y, first)
	}
	w.wrote, w.seq, w.revision, w.covered = true, y.Seq, r.Revision, max(w.covered, r.EventsSeq)
}

// together is how far apart the events of one change come, unless something delays them.
const together = 2 * time.Second

// told are the types of the events that came with a write, and the one that tells most of what it changed: of equals the last.
func (w *walk) told(y write) (types []string, by *Telling) {
	best := 0
	for _, e := range w.events {
		if e.Seq <= w.covered || e.Seq > y.Record.EventsSeq && e.StoredAt.After(y.at.Add(together)) {
			continue
		}
		if !slices.Contains(types, e.Type) {
			types = append(types, e.Type)
		}
		if n := w.tells(e.Type, y.Record.Snapshot.Deleted); n > 0 && n >= best {
			best, by = n, &Telling{Event: e.ID, Type: e.Type}
		}
	}
	return types, by
}

// tells says how much an event of the type tells of the change of access just taken into account: 0 for nothing.
func (w *walk) tells(typ string, deleted bool) int {
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

// missing says that there was a write between the last one recorded and this one: it does not lead from the one content to the other.
func (w *walk) missing(y write) bool {
	var paths []string
	for _, d := range entitlement.Diff(w.snapshot, y.Record.Snapshot) {
		paths = append(paths, d.Path)
	}
	return !slices.Equal(paths, y.Record.Changed)
}

// before settles how access stood when the write came.
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
	case w.snapshot != nil && !flipped && !moved && w.snapshot.Access == next.Access && same(w.snapshot.AccessUntil, next.AccessUntil):
		return
	default:
		how = Unrecorded
	}
	// Only what changed is known of the content before.
	w.reset(how)
	w.Known, w.Status = true, ""
	if flipped && !next.Access && !moved {
		w.Access = true // and it had no end
		return
	}
	w.Access = next.Allowed(y.at) && !flipped
	w.atLeastSince(y.at)
	w.Record, w.Revision = y.Seq, y.Record.Revision
}

// restore takes into account a write that found the snapshot vanished: there was no access just before it, whatever there was until then.
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

// within settles what is known of an instant in a gap, after the last write before it.
func (w *walk) within(g *Gap, at time.Time) {
	if w.Known && !w.Access {
		return // there was none with the snapshot, and none without
	}
	w.pass(at)
	end := w.Since // if it ended by itself, had it not vanished before
	known := w.Known && !w.Access
	w.reset(Unrecorded)
	w.Known, w.Access, w.Status, w.Vanished = known, false, "", g
	w.Record, w.Revision = g.Record, g.Revision
	if known {
		w.atLeastSince(*end)
	}
}

// after settles how access stands since the write.
func (w *walk) after(y write, first bool) {
	r, next := &y.Record, y.Record.Snapshot
	if allowed := next.Allowed(y.at); allowed != w.Access {
		was := w.Status
		w.reset(BySync)
		w.Access, w.Was, w.Became, w.First, w.Unannounced = allowed, was, statusOf(next), first, y.Unannounced
		w.since(y.at)
		w.Record, w.Revision = y.Seq, r.Revision
		w.Cause = entitlement.Cause{Trigger: r.Trigger, Event: r.Event, Type: r.Type}
		w.Events, w.ToldBy = w.told(y)
	}
	w.snapshot, w.Status = next, statusOf(next)
}

// unrecorded sets a snapshot that a sync without a record wrote, soon after the reading that it is dated by.
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

// found sets a snapshot that has been the same since before the records that are kept.
func (w *walk) found(p *entitlement.Snapshot) {
	w.reset(Unkept)
	w.Known, w.Access = true, p.Allowed(p.ChangedAt)
	w.atLeastSince(p.ChangedAt)
	w.snapshot, w.Status, w.Cause = p, statusOf(p), p.Cause
	w.seq, w.revision = 0, 0
}

// reset forgets how access came to be as it is, but not how it is.
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
