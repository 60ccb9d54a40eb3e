package audit_test

import (
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// Two first snapshots in a row prove that the bucket was emptied in between. The time is unknown.
func TestStandingAroundAGap(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false)
	p.remove(20)
	p.write(30, "active", -1, false)
	s := p.story(40, 0)
	st := s.Standing()
	if g := st.Vanished; st.How != audit.BySync || st.First || st.Was != "" || g == nil || !g.After.Equal(p.at(10)) ||
		g.Revision != 1 || g.Status != "active" || g.Access == nil || !*g.Access ||
		g.Until == nil || !g.Until.Equal(p.at(30)) {
		t.Errorf("standing %+v, after %+v: want access since the sync that found the snapshot gone, which was not the "+
			"first", st, g)
	}
	for n, want := range map[int]struct{ known, access, gap bool }{
		5: {true, false, false}, 10: {true, true, false}, 15: {false, false, true}, 25: {false, false, true},
		30: {true, true, false},
	} {
		st, view := s.StandingAt(p.at(n)), s.ViewAt(p.at(n))
		if view.Known != want.known || view.Allowed != want.access || (view.Vanished != nil) != want.gap ||
			want.gap && view.Snapshot != nil {
			t.Errorf("view at tick %d: %+v, want %+v", n, view, want)
		}
		if st.Known != want.known || st.Access != want.access || want.gap && st.Vanished == nil {
			t.Errorf("standing at tick %d: %+v, want %+v", n, st, want)
		}
	}
}

// A snapshot without access gave none while it had vanished, too.
func TestToldInAGapOfNoAccess(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "canceled", -1, false)
	p.remove(20)
	p.write(30, "active", -1, false)
	s := p.story(40, 0)
	if view, st := s.ViewAt(p.at(15)), s.StandingAt(p.at(15)); !view.Known || view.Allowed || view.Vanished == nil ||
		!st.Known || st.Access {
		t.Errorf("view %+v, standing %+v: want no access for certain", view, st)
	}
}

// A snapshot that is missing now is reported, and denied from the instant at which the bucket was
// looked at.
func TestGone(t *testing.T) {
	t.Parallel()
	p := newPast()
	p.write(10, "active", -1, false)
	p.remove(20)
	s := p.story(40, 0)
	if g := s.Gone(); g == nil || g.Until != nil || !s.Waits() {
		t.Fatalf("gone: %+v, want a gap that is not over", g)
	}
	if st := s.Standing(); !st.Known || st.Access || st.Vanished == nil || st.Revision != 1 {
		t.Errorf("standing %+v, want no access, of a snapshot that vanished", st)
	}
	if view := s.ViewAt(s.Now.At); !view.Known || view.Allowed || view.Snapshot != nil {
		t.Errorf("view now: %+v, want none", view)
	}
	if view := s.ViewAt(p.at(15)); view.Known || view.Allowed {
		t.Errorf("view in between: %+v, want unknown", view)
	}
	for name, is := range map[string]func(*past){"nothing": func(*past) {},
		"forgotten": func(p *past) { p.write(10, "active", -1, false); p.forget(20) },
		"there":     func(p *past) { p.write(10, "active", -1, false) }} {
		p := newPast()
		is(p)
		if s := p.story(40, 0); s.Gone() != nil || s.Waits() {
			t.Errorf("%s: %+v, want nothing gone", name, s.Gone())
		}
	}
}

// A record that only looks like a first snapshot proves no gap: one of a sweep that resumed after
// it was killed, and one that was stored twice.
func TestNoGap(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *past, last *audit.Sync){
		"a sweep after a failure": func(p *past, last *audit.Sync) {
			failed := &audit.Sync{
				StoredAt: p.at(20), Record: record.Record{Trigger: stripeevent.TriggerWake, Outcome: record.Failed},
			}
			p.writes[1], p.lost[1] = failed, false
			last.Record.Trigger = stripeevent.TriggerBackfill
		},
		"a sweep that found a deleted customer": func(_ *past, last *audit.Sync) {
			last.Record.Outcome, last.Record.Trigger = record.Deleted, stripeevent.TriggerSweep
		},
		"stored twice": func(p *past, last *audit.Sync) { last.Record = p.writes[0].Record },
	} {
		p := newPast()
		p.write(10, "active", -1, false)
		p.remove(20)
		change(p, p.write(30, "active", -1, false))
		s := p.story(40, 0)
		if st := s.Standing(); st.Vanished != nil {
			t.Errorf("%s: %+v, want no gap", name, st.Vanished)
		}
	}
}

// The bucket is emptied and restored, as by hand: the story says so, before and after.
func TestStoryOfAVanishedSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	c, _ := r.buy()
	r.settle()
	stream, err := r.js.Stream(t.Context(), "KV_"+entitlement.Bucket(entitlement.Test))
	if err == nil {
		err = stream.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	between := time.Now()
	s := r.story(c)
	if g := s.Gone(); g == nil || g.Revision == 0 || g.Access == nil || !*g.Access {
		t.Errorf("gone: %+v, want the snapshot of the purchase", g)
	}
	r.mark(c, stripeevent.TriggerReplay)
	r.settle()
	s = r.story(c)
	list := syncs(s)
	last := list[len(list)-1]
	if last.Vanished == nil || last.Vanished.Until == nil || !last.Vanished.Until.Equal(last.StoredAt) ||
		s.Gone() != nil {
		t.Errorf("last sync %+v: want that it found the snapshot vanished", last)
	}
	if st := s.Standing(); !st.Access || st.First || st.Vanished == nil || st.Record != last.Seq ||
		!st.Since.Equal(last.StoredAt) {
		t.Errorf("standing %+v, want access since the replay", st)
	}
	if view := s.ViewAt(between); view.Known || view.Vanished == nil {
		t.Errorf("view in between: %+v, want unknown", view)
	}
}
