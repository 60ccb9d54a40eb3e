package stories

import (
	"fmt"
	"strings"

	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// present shows how the customer stands.
func (v storyView) present() {
	p := v.story.Now
	fmt.Fprintf(v.Out, "\n%s\n", v.Out.Paint(term.Strong, "Now")+v.Out.Paint(term.Faint, ", "+tell.Clock(p.At)))
	switch {
	case p.Snapshot != nil:
		v.Out.Row("snapshot", fmt.Sprintf("%s · revision %d · "+
			"read %s", tell.Access(p.Snapshot, p.At), p.Revision, tell.Since(p.Snapshot.AsOf, p.At)))
		for i := range p.Snapshot.Subscriptions {
			v.Subscription(&p.Snapshot.Subscriptions[i], p.At)
		}
		v.Reasons(p.Snapshot, v.documents, p.At)
	case p.Unreadable != "":
		v.Out.Row("snapshot", fmt.Sprintf("revision %d cannot be read: %s", p.Revision, p.Unreadable))
	case v.story.Gone() != nil:
		v.Out.Row("snapshot", "GONE from the bucket: apps see no access")
	default:
		v.Out.Row("snapshot", "none: apps deny")
	}
	for _, r := range Ahead(p) {
		v.Out.Row(r.Label, r.Text)
	}
	if f := p.Fresh; f != nil {
		v.fresh(f)
	}
}

// Ahead says what is to come for the customer: its next check, its pending markers, and whether it is
// parked.
func Ahead(p audit.Present) (rows []tell.Row) {
	row := func(label, text string) { rows = append(rows, tell.Row{Label: label, Text: text}) }
	if p.NextLook != nil {
		row("next check", tell.Instant(p.NextLook.Unix(), p.At))
	} else {
		row("next check", "none scheduled")
	}
	if len(p.Markers) == 0 {
		row("marker", "none pending")
	}
	for _, m := range p.Markers {
		row("marker", fmt.Sprintf("pending for %s, lane "+
			"%s, %s", tell.Ago(p.At.Sub(m.StoredAt)), m.Lane, tell.Because(m.Cause.Trigger, m.Cause.Type, m.Cause.Event)))
	}
	switch f := p.Failure; {
	case f == nil:
		row("parked", "no")
	case f.ParkedAt != nil:
		row("parked", fmt.Sprintf("SINCE %s, %s, after "+
			"%s: %s", tell.Clock(*f.ParkedAt), tell.Since(*f.ParkedAt, p.At), tell.Count(f.Attempts, "attempt"), f.Error))
	default:
		row("parked", fmt.Sprintf("no, but %s since "+
			"%s: %s", tell.Count(f.Attempts, "failed attempt"), tell.Clock(f.FirstAt), f.Error))
	}
	return rows
}

func (v storyView) fresh(f *audit.Fresh) {
	text := "the same as the snapshot"
	switch {
	case UnknownToBoth(v.story.Now):
		v.Out.Row("Stripe", "does not know the customer either, or has deleted it")
		v.Out.Row("", fmt.Sprintf("%s: %s", tell.Count(f.Requests, "request"), strings.Join(f.RequestIDs, " ")))
		return
	case len(f.Changes) > 0 && len(v.story.Now.Markers) > 0:
		text = "differs, and a sync is pending:"
	case len(f.Changes) > 0:
		text = "DIFFERS from the snapshot:"
	}
	v.Out.Row("Stripe", text)
	for _, n := range NewTeller(v.story, v.Out.ShortenID).differences(f.Changes) {
		v.note(n.Tone, n.Text)
	}
	v.Out.Row("", fmt.Sprintf("%s: %s", tell.Count(f.Requests, "request"), strings.Join(f.RequestIDs, " ")))
}

// verdict says what it all comes to.
func (v storyView) verdict() {
	fmt.Fprintln(v.Out)
	for _, x := range Verdicts(v.story, v.coverageEvery) {
		v.say(x.Tone, x.Mark, x.Text)
	}
}

func (v storyView) say(c term.Tone, mark, text string) {
	for i, line := range term.Wrap(term.Printable(text), max(20, v.Out.Width()-2)) {
		if i > 0 {
			mark = " "
		}
		fmt.Fprintf(v.Out, "%s %s\n", v.Out.Paint(c, mark), v.Out.Paint(c, line))
	}
}

// PrintAt prints the answer that an app got at an earlier time, and what was under way then.
func PrintAt(out term.Terminal, c stripeevent.Customer, t audit.View, standing audit.Standing) {
	v := storyView{View: tell.View{Out: out}}
	fmt.Fprintf(out, "%s\n", out.Paint(term.Strong, "At "+tell.Clock(t.At)+" an app saw"))
	switch {
	case !t.Known && t.Vanished != nil:
		fmt.Fprintf(out, "%s %s  %s  %s\n", out.Paint(term.Ending, "?"),
			out.Paint(term.Strong, term.Printable(c.String())),
			out.Paint(term.Ending, "unknown: the snapshot vanished"), out.Paint(term.Faint, string(c.Mode)+" mode"))
		v.headline(standing, "")
	case !t.Known:
		fmt.Fprintf(out, "%s %s  %s\n", out.Paint(term.Ending, "?"),
			out.Paint(term.Strong, term.Printable(c.String())), "unknown: the kept records begin later")
		return
	case t.Snapshot == nil:
		why := "no access: no snapshot yet"
		if t.Vanished != nil {
			why = "no access: the snapshot is gone"
		}
		fmt.Fprintf(out, "%s %s  %s  %s\n", out.Paint(term.Denies, "✗"),
			out.Paint(term.Strong, term.Printable(c.String())), out.Paint(term.Denies, why),
			out.Paint(term.Faint, string(c.Mode)+" mode"))
		v.headline(standing, "")
	default:
		s := *t.Snapshot
		s.AsOf = t.AsOf
		v.First(&s, t.At)
		v.headline(standing, "")
		v.Rest(&s, t.Revision, t.At)
		if t.Vanished != nil {
			v.Out.Row("vanished", "the snapshot may have been gone from the bucket by then: no access either way")
		}
	}
	if t.Unreadable != 0 {
		v.Out.Row("unsure", fmt.Sprintf("record %d, of a later sync, cannot be read: it may have "+
			"changed this", t.Unreadable))
	}
	for _, e := range t.Underway {
		text := fmt.Sprintf("%s %s: ", e.Type, e.ID)
		switch {
		case e.StoredAt.After(t.At):
			text += fmt.Sprintf("Stripe generated it at %s; it arrived "+
				"%s later", tell.Clock(e.Created), tell.Ago(e.StoredAt.Sub(e.Created)))
		case e.Fate == audit.Uncovered:
			text += fmt.Sprintf("it arrived at %s, and NO SYNC EVER COVERED IT", tell.Clock(e.StoredAt))
		case t.Failing != nil && t.Failing.Record.Outcome == record.Parked && !e.StoredAt.After(t.Failing.StoredAt):
			text += fmt.Sprintf("it arrived at %s, and the customer was parked", e.StoredAt.Format("15:04:05.000"))
		default:
			text += fmt.Sprintf("it arrived at %s, and its sync had not ended yet", e.StoredAt.Format("15:04:05.000"))
		}
		v.Out.Row("under way", text)
	}
	if f := t.Failing; f != nil {
		v.Out.Row("failing", fmt.Sprintf("last sync: %s at "+
			"%s: %s", f.Record.Outcome, tell.Clock(f.StoredAt), f.Record.Error))
	}
}
