package audit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/syncer"
)

// A past is a customer's writes as they happened, and what is left of their records.
type past struct {
	begin  time.Time
	writes []*audit.Sync
	// snapshots are what each write wrote, recorded or not; nil for one that a hand removed.
	snapshots []*entitlement.Snapshot
	lost      []bool // left no record
	revision  uint64
}

func newPast() *past {
	return &past{begin: time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC)}
}

// A tick is long enough for a snapshot without records to be taken for settled after two.
const tick = 13 * time.Hour

func (p *past) at(n int) time.Time { return p.begin.Add(time.Duration(n) * tick) }

// tickOf is the first tick that is not before t.
func (p *past) tickOf(t time.Time) int { return int((t.Sub(p.begin) + tick - 1) / tick) }

// reading is how long before its write a reading begins.
const reading = 2 * time.Second

// write is a sync that records at that tick what it wrote, unless the record is lost. An until below 0 is none.
func (p *past) write(n int, status string, until int, lost bool) *audit.Sync {
	next := &entitlement.Snapshot{Schema: 1, Customer: "cus_1", Status: status, Access: status == "active", AsOf: p.at(n).Add(-reading)}
	next.Cause = entitlement.Cause{Trigger: "webhook", Event: fmt.Sprintf("evt_%d", n), Type: "invoice.paid"}
	if until >= 0 && next.Access {
		u := p.at(until).Add(-time.Hour).Unix() // no sync's time
		next.AccessUntil = &u
	}
	p.revision++
	r := syncer.Record{Trigger: "webhook", Event: next.Cause.Event, Type: next.Cause.Type, AsOf: next.AsOf, Revision: p.revision, Outcome: syncer.Created}
	next.ChangedAt = next.AsOf
	stale := false // the record before is lost
	if last := len(p.snapshots) - 1; last >= 0 && p.snapshots[last] != nil {
		before := p.snapshots[last]
		r.Outcome, stale = syncer.Changed, p.lost[last]
		if next.Equal(before) {
			r.Outcome, next.ChangedAt, next.Cause = syncer.Unchanged, before.ChangedAt, before.Cause
		}
		for _, d := range entitlement.Diff(before, next) {
			r.Changed = append(r.Changed, d.Path)
		}
	}
	if r.Outcome != syncer.Unchanged || stale {
		r.Snapshot = next
	}
	return p.add(&audit.Sync{StoredAt: p.at(n), Record: r}, next, lost)
}

// remove takes the snapshot out of the bucket by hand.
func (p *past) remove(n int) {
	p.revision++
	p.add(&audit.Sync{StoredAt: p.at(n)}, nil, true)
}

func (p *past) forget(n int) {
	p.revision++
	p.add(&audit.Sync{StoredAt: p.at(n), Forgotten: true, Record: syncer.Record{Trigger: "forget", Outcome: syncer.Deleted}}, nil, false)
}

func (p *past) add(y *audit.Sync, s *entitlement.Snapshot, lost bool) *audit.Sync {
	y.Seq = uint64(len(p.writes) + 1)
	p.writes, p.snapshots, p.lost = append(p.writes, y), append(p.snapshots, s), append(p.lost, lost)
	return y
}

// story is what is told now, when the first records are not kept any more.
func (p *past) story(now int, gone int) *audit.Story {
	s := &audit.Story{Now: audit.Present{At: p.at(now), Revision: p.revision}}
	for i, y := range p.writes {
		if y.Forgotten {
			s.Steps = nil
		}
		if i >= gone && !p.lost[i] {
			s.Steps = append(s.Steps, audit.Step{Sync: y})
		}
	}
	if n := len(p.snapshots); n > 0 {
		s.Now.Snapshot = p.snapshots[n-1]
	}
	return s
}

// allowed is the truth: what apps were told at an instant.
func (p *past) allowed(at time.Time) bool {
	is := false
	for i, y := range p.writes {
		if !y.StoredAt.After(at) {
			is = p.snapshots[i] != nil && p.snapshots[i].Allowed(at)
		}
	}
	return is
}

func TestStanding(t *testing.T) {
	t.Parallel()
	const never = -1
	for name, tc := range map[string]struct {
		past  func(p *past)
		gone  int // records that are not kept
		how   audit.How
		since int // never: not known
		least int
		is    bool
		text  string // status before → after
	}{
		"bought":               {func(p *past) { p.write(10, "active", -1, false) }, 0, audit.BySync, 10, never, true, " → active"},
		"bought and looked at": {func(p *past) { p.write(10, "active", -1, false); p.write(20, "active", -1, false) }, 0, audit.BySync, 10, never, true, " → active"},
		"canceled":             {func(p *past) { p.write(10, "active", -1, false); p.write(20, "canceled", -1, false) }, 0, audit.BySync, 20, never, false, "active → canceled"},
		"canceled, then more": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "unpaid", -1, false)
			p.write(30, "canceled", -1, false)
		}, 0, audit.BySync, 20, never, false, "active → unpaid"},
		"never paid":            {func(p *past) { p.write(10, "incomplete", -1, false) }, 0, audit.Never, never, 10, false, " → "},
		"nothing":               {func(*past) {}, 0, audit.Never, never, never, false, " → "},
		"ended by itself":       {func(p *past) { p.write(10, "active", -1, false); p.write(20, "active", 50, false) }, 0, audit.ByItself, 50, never, false, " → "},
		"ended, then canceled":  {func(p *past) { p.write(10, "active", 50, false); p.write(60, "canceled", -1, false) }, 0, audit.ByItself, 50, never, false, " → "},
		"renewed after the end": {func(p *past) { p.write(10, "active", 50, false); p.write(60, "active", -1, false) }, 0, audit.BySync, 60, never, true, "active → active"},
		// What took access away left no record: the next sync's record has the content and did not change it.
		"unrecorded": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "canceled", -1, true)
			p.write(30, "canceled", -1, false)
		}, 0, audit.Unrecorded, never, 20, false, " → "},
		// The one after changed something else.
		"unrecorded, then changed": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "unpaid", -1, true)
			p.write(30, "canceled", -1, false)
		}, 0, audit.Unrecorded, never, 30, false, " → "},
		"no record yet":                    {func(p *past) { p.write(10, "active", -1, false); p.write(20, "canceled", -1, true) }, 0, audit.Unrecorded, never, 20, false, " → "},
		"no record yet of the same access": {func(p *past) { p.write(10, "active", -1, false); p.write(20, "active", 5000, true) }, 0, audit.BySync, 10, never, true, " → active"},
		// Records age away.
		"all records gone":             {func(p *past) { p.write(10, "active", -1, false) }, 1, audit.Unkept, never, 10, true, " → "},
		"all records gone, and ended":  {func(p *past) { p.write(10, "active", 50, false) }, 1, audit.ByItself, 50, never, false, " → "},
		"only looked at":               {func(p *past) { p.write(10, "active", -1, false); p.write(20, "active", -1, false) }, 1, audit.Unkept, never, 10, true, " → "},
		"the loss is kept":             {func(p *past) { p.write(10, "active", -1, false); p.write(20, "canceled", -1, false) }, 1, audit.BySync, 20, never, false, " → canceled"},
		"the loss, maybe after an end": {func(p *past) { p.write(10, "active", 15, false); p.write(20, "canceled", -1, false) }, 1, audit.Unkept, never, 20, false, " → "},
		"the gain is kept":             {func(p *past) { p.write(10, "canceled", -1, false); p.write(20, "active", -1, false) }, 1, audit.BySync, 20, never, true, " → active"},
		"no change of access kept":     {func(p *past) { p.write(10, "canceled", -1, false); p.write(20, "unpaid", -1, false) }, 1, audit.Unkept, never, 20, false, " → "},
		// Hands.
		"removed":             {func(p *past) { p.write(10, "active", -1, false); p.remove(20) }, 0, audit.Unrecorded, never, never, false, " → "},
		"removed, made again": {func(p *past) { p.write(10, "active", -1, false); p.remove(20); p.write(30, "active", -1, false) }, 0, audit.BySync, 30, never, true, " → active"},
		"removed, then none":  {func(p *past) { p.write(10, "active", -1, false); p.remove(20); p.write(30, "canceled", -1, false) }, 0, audit.Unrecorded, never, 30, false, " → canceled"},
		"ended maybe by itself, removed, then none": {func(p *past) { p.write(10, "active", 20, false); p.remove(15); p.write(30, "canceled", -1, false) }, 0, audit.Unrecorded, never, 30, false, " → canceled"},
		"none, removed, then none": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "canceled", -1, false)
			p.remove(25)
			p.write(30, "canceled", -1, false)
		}, 0, audit.BySync, 20, never, false, "active → canceled"},
		"removed after one that is not kept": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "active", -1, false)
			p.remove(25)
			p.write(30, "canceled", -1, false)
		}, 1, audit.Unrecorded, never, 30, false, " → canceled"},
		"removed, made again, lost": {func(p *past) {
			p.write(10, "active", -1, false)
			p.remove(15)
			p.write(20, "active", -1, false)
			p.write(30, "canceled", -1, false)
		}, 0, audit.BySync, 30, never, false, "active → canceled"},
		"forgotten":                      {func(p *past) { p.write(10, "active", -1, false); p.forget(20) }, 0, audit.Forgotten, 20, never, false, " → "},
		"forgotten, back":                {func(p *past) { p.write(10, "active", -1, false); p.forget(20); p.write(30, "active", -1, false) }, 0, audit.BySync, 30, never, true, " → active"},
		"forgotten, back with no record": {func(p *past) { p.write(10, "active", -1, false); p.forget(20); p.write(30, "active", -1, true) }, 0, audit.Unrecorded, never, 30, true, " → "},
		// Two syncs ended at once, and the one that wrote first was recorded last.
		"recorded in the other order": {func(p *past) {
			p.write(10, "active", -1, false)
			a, b := p.write(20, "canceled", -1, true), p.write(21, "active", -1, true)
			p.writes[1], p.writes[2] = b, a
			p.snapshots[1], p.snapshots[2] = p.snapshots[2], p.snapshots[1]
			b.StoredAt, a.StoredAt, p.lost = p.at(22), p.at(23), make([]bool, 3)
			a.Record.Snapshot = p.snapshots[2]
			a.Record.AsOf = b.Record.AsOf.Add(-reading)
			p.snapshots = append(p.snapshots, p.snapshots[1]) // the bucket's
		}, 0, audit.BySync, 22, never, true, "canceled → active"},
		// The bucket was created anew: its revisions begin again.
		"a new bucket": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "canceled", -1, false)
			p.remove(25)
			p.revision = 0
			p.write(30, "active", -1, false)
		}, 0, audit.BySync, 30, never, true, " → active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPast()
			tc.past(p)
			const now = 100
			st := p.story(now, tc.gone).Standing()
			if !st.Known || st.How != tc.how || st.Access != tc.is {
				t.Errorf("known %t, access %t, %s; want access %t, %s", st.Known, st.Access, st.How, tc.is, tc.how)
			}
			check := func(what string, got *time.Time, want int) {
				if want == never != (got == nil) || got != nil && p.tickOf(*got) != want {
					t.Errorf("%s %v, want tick %d", what, got, want)
				}
			}
			check("since", st.Since, tc.since)
			check("at least since", st.AtLeastSince, tc.least)
			if text := st.Was + " → " + st.Became; text != tc.text {
				t.Errorf("status %q, want %q", text, tc.text)
			}
		})
	}
}

// Events of one change come within a second or two: some before the sync that sees it, some while it reads, some after.
func TestStandingNamesTheEvents(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false).Record.EventsSeq = 2
	lost := p.write(20, "canceled", -1, false)
	lost.Record.EventsSeq = 4
	s := p.story(100, 0)
	for seq, typ := range []string{"before", "before too", "covered", "kept", "covered", "soon after", "later"} {
		e := &audit.Heard{Seq: uint64(seq + 1), Type: typ, StoredAt: lost.StoredAt.Add(time.Duration(seq-4) * 2 * time.Second), Fate: audit.Covered}
		if typ == "kept" {
			e.Fate = audit.Kept
		}
		s.Steps = append(s.Steps, audit.Step{Event: e})
	}
	if st := s.Standing(); !slices.Equal(st.Events, []string{"covered", "soon after"}) {
		t.Errorf("events %q, want what was covered and what came soon after", st.Events)
	}
}

// The first event of a purchase is about its payment method, and the sync that it leads to sees the subscription.
func TestStandingNamesTheEventThatTells(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status string
		events []string
		want   string // "" for none
	}{
		{"active", []string{"payment_method.attached", "customer.subscription.created", "invoice.paid", "customer.subscription.updated"}, "customer.subscription.created evt_1"},
		{"active", []string{"invoice.paid", "customer.subscription.updated", "customer.subscription.updated"}, "customer.subscription.updated evt_2"},
		{"canceled", []string{"customer.subscription.updated", "customer.subscription.deleted", "customer.updated"}, "customer.subscription.deleted evt_1"},
		{"active", []string{"payment_method.attached", "invoice.paid"}, ""},
	} {
		p := newPast()
		if tc.status != "active" {
			p.write(10, "active", -1, false)
		}
		y := p.write(20, tc.status, -1, false)
		y.Record.EventsSeq = uint64(len(tc.events))
		s := p.story(100, 0)
		for i, typ := range tc.events {
			s.Steps = append(s.Steps, audit.Step{Event: &audit.Heard{Seq: uint64(i + 1), ID: fmt.Sprintf("evt_%d", i), Type: typ, StoredAt: y.StoredAt, Fate: audit.Covered}})
		}
		got := ""
		if by := s.Standing().ToldBy; by != nil {
			got = by.Type + " " + by.Event
		}
		if got != tc.want {
			t.Errorf("%s after %v: told by %q, want %q", tc.status, tc.events, got, tc.want)
		}
	}
}

// What is no snapshot answers nothing.
func TestStandingOfSomethingElse(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false)
	s := p.story(100, 0)
	s.Now.Snapshot, s.Now.Unreadable = nil, "unexpected end of JSON input"
	if st := s.Standing(); st.Known || st.How != audit.Unreadable {
		t.Errorf("%+v, want unknown", st)
	}
}

// A snapshot without records says itself since when it is the same; but it was written a little after the reading that dates it.
func TestToldWithoutRecords(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false)
	s := p.story(100, 1)
	if told := s.Told(p.at(99)); !told.Known || !told.Allowed || !told.AsOf.Equal(p.snapshots[0].ChangedAt) {
		t.Errorf("long after: %+v, want access, as of the reading", told)
	}
	for _, at := range []time.Time{p.at(10).Add(-reading / 2), p.at(9)} {
		if told := s.Told(at); told.Known {
			t.Errorf("at %s: %+v, want unknown", at, told)
		}
	}
}

// Whatever was lost, removed and forgotten: what is told is true, at each instant, and agrees with what [audit.Story.Told] tells.
func TestStandingNeverGuesses(t *testing.T) {
	t.Parallel()
	const end = 60
	known, dated, vanished := 0, 0, 0
	for seed := range uint64(800) {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := newPast()
		for n := 5; n < end; n += 3 + rng.IntN(10) {
			last := len(p.writes) - 1
			there := last >= 0 && p.snapshots[last] != nil
			switch luck := rng.IntN(40); {
			case luck == 0 && there:
				p.forget(n)
			case luck < 4 && there && !p.lost[last]:
				p.remove(n)
			default:
				until := -1
				if rng.IntN(3) == 0 {
					until = n - 5 + rng.IntN(30)
				}
				p.write(n, []string{"active", "active", "past_due", "canceled"}[rng.IntN(4)], until, !(last >= 0 && p.lost[last]) && rng.IntN(5) == 0)
			}
		}
		if p.traceless() {
			continue
		}
		for gone := 0; gone <= len(p.writes); gone++ {
			if gone > 0 && p.writes[gone-1].Forgotten {
				break // that there was something before is forgotten too
			}
			if gone > 0 && (p.removed(gone-1) || gone < len(p.writes) && p.removed(gone)) {
				continue // what is kept begins with the snapshot that was made again, as if it were the first
			}
			s := p.story(end, gone)
			standings := []audit.Standing{s.Standing()}
			for n := int(seed % 7); n < end; n += 7 {
				at := p.at(n)
				st, told := s.StandingAt(at), s.Told(at)
				if st.Known != told.Known || st.Access != told.Allowed {
					t.Fatalf("seed %d, %d gone, tick %d: known %t, access %t, but told %t, %t", seed, gone, n, st.Known, st.Access, told.Known, told.Allowed)
				}
				standings = append(standings, st)
			}
			for i, st := range standings {
				n := p.tickOf(st.At)
				now := i == 0
				if st.Vanished != nil {
					vanished++
				}
				if !st.Known {
					if now {
						t.Fatalf("seed %d, %d gone: the bucket is there, and access is not known", seed, gone)
					}
					continue
				}
				known++
				// Before now, a write without a record cannot be seen before the next record.
				if lost := !now && p.lostAt(n); !lost && st.Access != p.allowed(p.at(n)) {
					t.Fatalf("seed %d, %d gone, tick %d: access %t by %s, want %t", seed, gone, n, st.Access, st.How, p.allowed(p.at(n)))
				} else if lost {
					continue
				}
				from := -1
				switch {
				case st.Since != nil && st.How != audit.Forgotten:
					dated++
					from = p.tickOf(*st.Since)
					if p.allowed(st.Since.Add(-time.Millisecond)) == st.Access {
						t.Fatalf("seed %d, %d gone, tick %d: %s at %d, where nothing changed", seed, gone, n, st.How, from)
					}
				case st.AtLeastSince != nil:
					from = p.tickOf(*st.AtLeastSince)
				default:
					continue
				}
				for x := from; x <= n; x++ {
					if p.allowed(p.at(x)) != st.Access {
						t.Fatalf("seed %d, %d gone, tick %d: %s since %d, but not at %d", seed, gone, n, st.How, from, x)
					}
				}
			}
		}
	}
	if known < 10_000 || dated < 10_000 || vanished < 1000 {
		t.Errorf("%d known, %d dated, %d of a snapshot that vanished: too few to say anything", known, dated, vanished)
	}
}

// traceless says that a write that left no record cannot be noticed by the record after it either.
func (p *past) traceless() bool {
	var recorded *entitlement.Snapshot
	for i, y := range p.writes {
		if i > 0 && p.lost[i-1] && y.Record.Outcome == syncer.Changed && recorded != nil {
			var paths []string
			for _, d := range entitlement.Diff(recorded, p.snapshots[i]) {
				paths = append(paths, d.Path)
			}
			if slices.Equal(paths, y.Record.Changed) {
				return true
			}
		}
		if !p.lost[i] {
			recorded = p.snapshots[i]
		}
	}
	return false
}

// lostAt says that the last write before left no record, and none after it tells of it.
func (p *past) lostAt(n int) bool {
	lost := false
	for i, y := range p.writes {
		if !y.StoredAt.After(p.at(n)) {
			lost = p.lost[i] && !p.removed(i)
		}
	}
	return lost
}

// removed says that the write was a hand that removed the snapshot.
func (p *past) removed(i int) bool { return p.snapshots[i] == nil && !p.writes[i].Forgotten }
