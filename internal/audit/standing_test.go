package audit_test

import (
	"fmt"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
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

// write is a sync that records at that tick what it wrote, unless the record is lost. An until
// below 0 is none.
func (p *past) write(n int, status string, until int, lost bool) *audit.Sync {
	next := &entitlement.Snapshot{
		Schema: 1, Customer: "cus_1", Status: status, Access: status == "active", AsOf: p.at(n).Add(-reading),
	}
	next.Cause = entitlement.Cause{Trigger: "webhook", Event: fmt.Sprintf("evt_%d", n), Type: "invoice.paid"}
	if until >= 0 && next.Access {
		u := p.at(until).Add(-time.Hour).Unix() // no sync's time
		next.AccessUntil = &u
	}
	p.revision++
	r := record.Record{
		Trigger: "webhook", Event: next.Cause.Event, Type: next.Cause.Type, AsOf: next.AsOf, Revision: p.revision,
		Outcome: record.Created,
	}
	next.ChangedAt = next.AsOf
	stale := false // the record before is lost
	if last := len(p.snapshots) - 1; last >= 0 && p.snapshots[last] != nil {
		before := p.snapshots[last]
		r.Outcome, stale = record.Changed, p.lost[last]
		if next.Equal(before) {
			r.Outcome, next.ChangedAt, next.Cause = record.Unchanged, before.ChangedAt, before.Cause
		}
		for _, d := range entitlement.Diff(before, next) {
			r.Changed = append(r.Changed, d.Path)
		}
	}
	if r.Outcome != record.Unchanged || stale {
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
	p.add(&audit.Sync{StoredAt: p.at(n), Forgotten: true,
		Record: record.Record{Trigger: "forget", Outcome: record.Deleted}}, nil, false)
}

func (p *past) add(y *audit.Sync, s *entitlement.Snapshot, lost bool) *audit.Sync {
	y.Seq = uint64(len(p.writes) + 1)
	p.writes, p.snapshots, p.lost = append(p.writes, y), append(p.snapshots, s), append(p.lost, lost)
	return y
}

// story is today's story, with the first records expired.
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

// allowed is the truth: the access that apps saw at an instant.
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
		"bought": {func(p *past) { p.write(10, "active", -1, false) }, 0, audit.BySync,
			10, never, true, " → active"},
		"bought and looked at": {func(p *past) { p.write(10, "active", -1, false); p.write(20, "active", -1, false) },
			0, audit.BySync, 10, never, true, " → active"},
		"canceled": {func(p *past) { p.write(10, "active", -1, false); p.write(20, "canceled", -1, false) },
			0, audit.BySync, 20, never, false, "active → canceled"},
		"canceled, then more": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20, "unpaid", -1, false)
			p.write(30, "canceled", -1, false)
		}, 0, audit.BySync, 20, never, false, "active → unpaid"},
		"never paid": {func(p *past) { p.write(10, "incomplete", -1, false) }, 0, audit.Never,
			never, 10, false, " → "},
		"nothing": {func(*past) {}, 0, audit.Never, never, never, false, " → "},
		"ended by itself": {func(p *past) { p.write(10, "active", -1, false); p.write(20, "active", 50, false) },
			0, audit.ByItself, 50, never, false, " → "},
		"ended, then canceled": {func(p *past) {
			p.write(10, "active", 50, false)
			p.write(60, "canceled",
				-1, false)
		}, 0, audit.ByItself, 50, never, false, " → "},
		"renewed after the end": {func(p *past) { p.write(10, "active", 50, false); p.write(60, "active", -1, false) },
			0, audit.BySync, 60, never, true, "active → active"},
		// The write that took access away left no record: the next sync's record has the content
		// and did not change it.
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
		"no record yet": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20,
				"canceled", -1, true)
		}, 0, audit.Unrecorded, never, 20, false, " → "},
		"no record yet of the same access": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20,
				"active", 5000, true)
		}, 0, audit.BySync, 10, never, true, " → active"},
		// Records age away.
		"all records gone": {func(p *past) { p.write(10, "active", -1, false) }, 1, audit.Unkept,
			never, 10, true, " → "},
		"all records gone, and ended": {func(p *past) { p.write(10, "active", 50, false) }, 1, audit.ByItself,
			50, never, false, " → "},
		"only looked at": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20,
				"active", -1, false)
		}, 1, audit.Unkept, never, 10, true, " → "},
		"the loss is kept": {func(p *past) {
			p.write(10, "active", -1, false)
			p.write(20,
				"canceled", -1, false)
		}, 1, audit.BySync, 20, never, false, " → canceled"},
		"the loss, maybe after an end": {func(p *past) {
			p.write(10, "active", 15, false)
			p.write(20,
				"canceled", -1, false)
		}, 1, audit.Unkept, never, 20, false, " → "},
		"the gain is kept": {func(p *past) {
			p.write(10, "canceled", -1, false)
			p.write(20,
				"active", -1, false)
		}, 1, audit.BySync, 20, never, true, " → active"},
		"no change of access kept": {func(p *past) {
			p.write(10, "canceled", -1, false)
			p.write(20,
				"unpaid", -1, false)
		}, 1, audit.Unkept, never, 20, false, " → "},
		// Hands.
		"removed": {func(p *past) { p.write(10, "active", -1, false); p.remove(20) }, 0,
			audit.Unrecorded, never, never, false, " → "},
		"removed, made again": {func(p *past) {
			p.write(10, "active", -1, false)
			p.remove(20)
			p.write(30,
				"active", -1, false)
		}, 0, audit.BySync, 30, never, true, " → active"},
		"removed, then none": {func(p *past) {
			p.write(10, "active", -1, false)
			p.remove(20)
			p.write(30,
				"canceled", -1, false)
		}, 0, audit.Unrecorded, never, 30, false, " → canceled"},
		"ended maybe by itself, removed, then none": {func(p *past) {
			p.write(10, "active", 20,
				false)
			p.remove(15)
			p.write(30, "canceled", -1, false)
		}, 0, audit.Unrecorded, never, 30,
			false, " → canceled"},
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
		"forgotten": {func(p *past) { p.write(10, "active", -1, false); p.forget(20) },
			0, audit.Forgotten, 20, never, false, " → "},
		"forgotten, back": {func(p *past) {
			p.write(10, "active", -1, false)
			p.forget(20)
			p.write(30,
				"active", -1, false)
		}, 0, audit.BySync, 30, never, true, " → active"},
		"forgotten, back with no record": {func(p *past) {
			p.write(10, "active", -1, false)
			p.forget(20)
			p.write(30,
				"active", -1, true)
		}, 0, audit.Unrecorded, never, 30, true, " → "},
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
		// The bucket was recreated: its revisions begin again.
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
