package audit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
)

// Events of one change come within a second or two: some before the sync that sees it, some while
// it reads, some after.
func TestStandingNamesTheEvents(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false).Record.EventsSeq = 2
	lost := p.write(20, "canceled", -1, false)
	lost.Record.EventsSeq = 4
	s := p.story(100, 0)
	for seq, typ := range []string{"before", "before too", "covered", "kept", "covered", "soon after", "later"} {
		e := &audit.Heard{
			Seq: uint64(seq + 1), Type: typ, StoredAt: lost.StoredAt.Add(time.Duration(seq-4) * 2 * time.Second),
			Fate: audit.Covered,
		}
		if typ == "kept" {
			e.Fate = audit.Kept
		}
		s.Steps = append(s.Steps, audit.Step{Event: e})
	}
	if st := s.Standing(); !slices.Equal(st.Events, []string{"covered", "soon after"}) {
		t.Errorf("events %q, want what was covered and what came soon after", st.Events)
	}
}

// The first event of a purchase is about its payment method, and the sync that it leads to sees the
// subscription.
func TestStandingNamesTheEventThatTells(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status string
		events []string
		want   string // "" for none
	}{
		{"active", []string{"payment_method.attached", "customer.subscription.created", "invoice.paid",
			"customer.subscription.updated"}, "customer.subscription.created evt_1"},
		{"active", []string{"invoice.paid", "customer.subscription.updated", "customer.subscription.updated"},
			"customer.subscription.updated evt_2"},
		{"canceled", []string{"customer.subscription.updated", "customer.subscription.deleted", "customer.updated"},
			"customer.subscription.deleted evt_1"},
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
			s.Steps = append(s.Steps, audit.Step{
				Event: &audit.Heard{
					Seq: uint64(i + 1), ID: fmt.Sprintf("evt_%d", i), Type: typ, StoredAt: y.StoredAt,
					Fate: audit.Covered,
				},
			})
		}
		got := ""
		if by := s.Standing().AnnouncedBy; by != nil {
			got = by.Type + " " + by.Event
		}
		if got != tc.want {
			t.Errorf("%s after %v: announced by %q, want %q", tc.status, tc.events, got, tc.want)
		}
	}
}

// An entry that is no snapshot gives no answer.
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

// A snapshot without records says itself since when it is the same; but it was written a little
// after the reading that dates it.
func TestToldWithoutRecords(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false)
	s := p.story(100, 1)
	if view := s.ViewAt(p.at(99)); !view.Known || !view.Allowed || !view.AsOf.Equal(p.snapshots[0].ChangedAt) {
		t.Errorf("long after: %+v, want access, as of the reading", view)
	}
	for _, at := range []time.Time{p.at(10).Add(-reading / 2), p.at(9)} {
		if view := s.ViewAt(at); view.Known {
			t.Errorf("at %s: %+v, want unknown", at, view)
		}
	}
}

// Whatever was lost, removed and forgotten: the standing is true at each instant, and agrees with
// [audit.Story.ViewAt].
func TestStandingNeverGuesses(t *testing.T) {
	t.Parallel()
	const end = 60
	known, dated, vanished := 0, 0, 0
	seeds, share := uint64(800), 1
	if testing.Short() {
		seeds, share = 80, 10
	}
	for seed := range seeds {
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
				p.write(n, []string{"active", "active", "past_due", "canceled"}[rng.IntN(4)], until,
					!(last >= 0 && p.lost[last]) && rng.IntN(5) == 0)
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
				continue // the kept records begin with the rewritten snapshot, as if it were the first
			}
			s := p.story(end, gone)
			standings := []audit.Standing{s.Standing()}
			for n := int(seed % 7); n < end; n += 7 {
				at := p.at(n)
				st, view := s.StandingAt(at), s.ViewAt(at)
				if st.Known != view.Known || st.Access != view.Allowed {
					t.Fatalf("seed %d, %d gone, tick %d: known %t, access %t, but view %t, %t",
						seed, gone, n, st.Known, st.Access, view.Known, view.Allowed)
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
					t.Fatalf("seed %d, %d gone, tick %d: access %t by %s, want %t",
						seed, gone, n, st.Access, st.How, p.allowed(p.at(n)))
				} else if lost {
					continue
				}
				from := -1
				switch {
				case st.Since != nil && st.How != audit.Forgotten:
					dated++
					from = p.tickOf(*st.Since)
					if p.allowed(st.Since.Add(-time.Millisecond)) == st.Access {
						t.Fatalf("seed %d, %d gone, tick %d: %s at %d, where nothing changed",
							seed, gone, n, st.How, from)
					}
				case st.AtLeastSince != nil:
					from = p.tickOf(*st.AtLeastSince)
				default:
					continue
				}
				for x := from; x <= n; x++ {
					if p.allowed(p.at(x)) != st.Access {
						t.Fatalf("seed %d, %d gone, tick %d: %s since %d, but not at %d",
							seed, gone, n, st.How, from, x)
					}
				}
			}
		}
	}
	if known < 10_000/share || dated < 10_000/share || vanished < 1000/share {
		t.Errorf("%d known, %d dated, %d of a snapshot that vanished: too few to say anything", known, dated, vanished)
	}
}

// traceless says that a write that left no record cannot be noticed by the record after it either.
func (p *past) traceless() bool {
	var recorded *entitlement.Snapshot
	for i, y := range p.writes {
		if i > 0 && p.lost[i-1] && y.Record.Outcome == record.Changed && recorded != nil {
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

// lostAt reports that the last write before left no record, and that no later record names it.
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
