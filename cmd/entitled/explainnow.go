package main

import (
	"fmt"
	"strings"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// present shows how the customer stands.
func (v storyView) present() {
	p := v.story.Now
	fmt.Fprintf(v.out, "\n%s\n", v.out.paint(strong, "Now")+v.out.paint(faint, ", "+clock(p.At)))
	switch {
	case p.Snapshot != nil:
		v.row("snapshot", fmt.Sprintf("%s · revision %d · read %s", access(p.Snapshot, p.At), p.Revision, since(p.Snapshot.AsOf, p.At)))
		for i := range p.Snapshot.Subscriptions {
			v.subscription(&p.Snapshot.Subscriptions[i], p.At)
		}
	case p.Unreadable != "":
		v.row("snapshot", fmt.Sprintf("revision %d cannot be read: %s", p.Revision, p.Unreadable))
	case v.story.Gone() != nil:
		v.row("snapshot", "GONE from the bucket: apps are told no access")
	default:
		v.row("snapshot", "none: apps deny")
	}
	if p.NextLook != nil {
		v.row("next check", instant(p.NextLook.Unix(), p.At))
	} else {
		v.row("next check", "none scheduled")
	}
	if len(p.Markers) == 0 {
		v.row("marker", "none pending")
	}
	for _, m := range p.Markers {
		v.row("marker", fmt.Sprintf("pending for %s, lane %s, %s", ago(p.At.Sub(m.StoredAt)), m.Lane, because(m.Cause.Trigger, m.Cause.Type, m.Cause.Event)))
	}
	switch f := p.Failure; {
	case f == nil:
		v.row("parked", "no")
	case f.ParkedAt != nil:
		v.row("parked", fmt.Sprintf("SINCE %s, %s, after %s: %s", clock(*f.ParkedAt), since(*f.ParkedAt, p.At), count(f.Attempts, "attempt"), f.Error))
	default:
		v.row("parked", fmt.Sprintf("no, but %s since %s: %s", count(f.Attempts, "failed attempt"), clock(f.FirstAt), f.Error))
	}
	if f := p.Fresh; f != nil {
		v.fresh(f)
	}
}

func (v storyView) fresh(f *audit.Fresh) {
	text := "the same as the snapshot"
	switch {
	case unknownToBoth(v.story.Now):
		v.row("Stripe", "does not know the customer either, or has deleted it")
		v.row("", fmt.Sprintf("%s: %s", count(f.Requests, "request"), strings.Join(f.RequestIDs, " ")))
		return
	case len(f.Changes) > 0 && len(v.story.Now.Markers) > 0:
		text = "differs, and a sync is pending:"
	case len(f.Changes) > 0:
		text = "DIFFERS from the snapshot, which leads to:"
	}
	v.row("Stripe", text)
	v.differences(f.Changes, v.story.Now.At)
	v.row("", fmt.Sprintf("%s: %s", count(f.Requests, "request"), strings.Join(f.RequestIDs, " ")))
}

// verdict says what it all comes to.
func (v storyView) verdict() {
	fmt.Fprintln(v.out)
	for _, x := range verdicts(v.story, v.coverageEvery) {
		v.say(x.tone, x.mark, x.text)
	}
}

func (v storyView) say(c tone, mark, text string) {
	for i, line := range wrap(printable(text), max(20, v.out.width()-2)) {
		if i > 0 {
			mark = " "
		}
		fmt.Fprintf(v.out, "%s %s\n", v.out.paint(c, mark), v.out.paint(c, line))
	}
}

// showTold shows what an app was told at an instant, and what was under way.
func showTold(out terminal, c stripeevent.Customer, t audit.Told, standing audit.Standing) {
	v := storyView{view: view{out}}
	fmt.Fprintf(out, "%s\n", out.paint(strong, "At "+clock(t.At)+" an app was told"))
	switch {
	case !t.Known && t.Vanished != nil:
		fmt.Fprintf(out, "%s %s  %s  %s\n", out.paint(ending, "?"), out.paint(strong, printable(c.String())),
			out.paint(ending, "unknown: the snapshot vanished"), out.paint(faint, string(c.Mode)+" mode"))
		v.headline(standing, "")
	case !t.Known:
		fmt.Fprintf(out, "%s %s  %s\n", out.paint(ending, "?"), out.paint(strong, printable(c.String())), "unknown: the records that are kept do not reach back so far")
		return
	case t.Snapshot == nil:
		why := "no access: no snapshot yet"
		if t.Vanished != nil {
			why = "no access: the snapshot is gone"
		}
		fmt.Fprintf(out, "%s %s  %s  %s\n", out.paint(denies, "✗"), out.paint(strong, printable(c.String())), out.paint(denies, why), out.paint(faint, string(c.Mode)+" mode"))
		v.headline(standing, "")
	default:
		s := *t.Snapshot
		s.AsOf = t.AsOf
		v.first(&s, t.At)
		v.headline(standing, "")
		v.rest(&s, t.Revision, t.At)
		if t.Vanished != nil {
			v.row("vanished", "the snapshot may have been gone from the bucket by then: no access either way")
		}
	}
	if t.Unreadable != 0 {
		v.row("unsure", fmt.Sprintf("record %d, of a later sync, cannot be read: it may have changed this", t.Unreadable))
	}
	for _, e := range t.Underway {
		text := fmt.Sprintf("%s %s: ", e.Type, e.ID)
		switch {
		case e.StoredAt.After(t.At):
			text += fmt.Sprintf("Stripe had generated it at %s; it came %s later", clock(e.Created), ago(e.StoredAt.Sub(e.Created)))
		case e.Fate == audit.Uncovered:
			text += fmt.Sprintf("it had come at %s, and NO SYNC EVER COVERED IT", clock(e.StoredAt))
		case t.Failing != nil && t.Failing.Record.Outcome == syncer.Parked && !e.StoredAt.After(t.Failing.StoredAt):
			text += fmt.Sprintf("it had come at %s, and the customer was parked", e.StoredAt.Format("15:04:05.000"))
		default:
			text += fmt.Sprintf("it had come at %s, and its sync had not ended yet", e.StoredAt.Format("15:04:05.000"))
		}
		v.row("under way", text)
	}
	if f := t.Failing; f != nil {
		v.row("failing", fmt.Sprintf("the last sync had %s at %s: %s", f.Record.Outcome, clock(f.StoredAt), f.Record.Error))
	}
}
