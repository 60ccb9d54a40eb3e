package stories

import (
	"fmt"
	"time"

	"entitled/internal/audit"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// storyView shows a story to people, in 80 columns where there are no more: what came on lines with
// ←, what was done about it below, what is wrong in words that cannot be overlooked.
type storyView struct {
	tell.View
	story *audit.Story
	since time.Time
	day   string
	// coverageEvery is how often the syncers check that every event has led to a sync.
	coverageEvery time.Duration
	documents     tell.Documents
}

// stepIndent, in columns, is where what belongs to a step begins: behind the time and the mark.
const stepIndent = 15

// Print prints a story from a time on, and its verdict. coverageEvery is the interval of the
// coverage job.
func Print(out term.Terminal, story *audit.Story, since time.Time, coverageEvery time.Duration,
	documents tell.Documents) {
	storyView{View: tell.View{Out: out}, story: story, since: since, coverageEvery: coverageEvery, documents: documents}.show()
}

func (v storyView) show() {
	now := v.story.Now
	if s := now.Snapshot; s != nil {
		mark, c := tell.Standing(s, now.At)
		fmt.Fprintf(v.Out, "%s %s  %s  %s\n", v.Out.Paint(c, mark), v.Out.Paint(term.Strong, v.who()),
			v.Out.Paint(c, tell.Access(s, now.At)), v.Out.Paint(term.Faint, v.mode()))
	} else {
		what := "no snapshot"
		switch {
		case v.story.Gone() != nil:
			what = "no access: the snapshot is gone"
		case now.Unreadable != "":
			what = "the snapshot cannot be read"
		}
		fmt.Fprintf(v.Out, "%s %s  %s  %s\n", v.Out.Paint(term.Denies, "✗"), v.Out.Paint(term.Strong, v.who()),
			v.Out.Paint(term.Denies, what), v.Out.Paint(term.Faint, v.mode()))
	}
	v.headline(v.story.Standing(), caveat(v.story))
	fmt.Fprintf(v.Out, "\n%s\n", v.Out.Paint(term.Faint, "  ← event  · event that marks no customer  ✓ = ! ✗ "+
		"result of a sync"))
	steps := after(v.story.Steps, v.since)
	if left := len(v.story.Steps) - len(steps); left > 0 {
		fmt.Fprintf(v.Out, "\n%s\n", v.Out.Paint(term.Faint, fmt.Sprintf("%s before %s "+
			"left out", tell.Count(left, "step"), tell.Clock(v.since))))
	}
	teller := NewTeller(v.story, v.Out.ShortenID)
	for _, group := range Groups(steps) {
		line := teller.Step(group)
		v.dayOf(line.At)
		v.step(line)
	}
	v.present()
	v.verdict()
}

func (v storyView) who() string  { return term.Printable(v.story.Customer.String()) }
func (v storyView) mode() string { return string(v.story.Customer.Mode) + " mode" }

func (v *storyView) dayOf(t time.Time) {
	if day := t.UTC().Format("Monday, 2 January 2006"); day != v.day {
		v.day = day
		fmt.Fprintf(v.Out, "\n%s\n", v.Out.Paint(term.Strong, day)+v.Out.Paint(term.Faint, ", times in UTC"))
	}
}

func (v storyView) head(t time.Time, c term.Tone, mark, text string) {
	lines := term.Wrap(text, max(20, v.Out.Width()-stepIndent))
	fmt.Fprintf(v.Out, "%s %s %s\n", v.Out.Paint(term.Faint, t.UTC().Format("15:04:05.000")), v.Out.Paint(c, mark),
		v.Out.Paint(c, lines[0]))
	for _, line := range lines[1:] {
		fmt.Fprintf(v.Out, "%*s%s\n", stepIndent, "", v.Out.Paint(c, line))
	}
}

// step prints a step.
func (v storyView) step(s Step) {
	if s.Event != nil {
		v.event(s)
	} else {
		v.head(s.At, s.Tone, s.Mark, s.Text)
	}
	for _, n := range s.Notes {
		v.note(n.Tone, n.Text)
	}
}

// event prints the line of an event, with its id at the end.
func (v storyView) event(s Step) {
	id := term.Printable(s.ID)
	room := v.Out.Width() - stepIndent - 2 - term.Columns(id)
	typ := term.Pad(v.Out.EndOf(s.Text, max(room, 20)), room)
	fmt.Fprintf(v.Out, "%s %s %s  %s\n", v.Out.Paint(term.Faint, s.At.Format("15:04:05.000")),
		v.Out.Paint(s.Tone, s.Mark), v.Out.Paint(s.Tone, typ), v.Out.Paint(term.Faint, id))
}

// note is a line below a step.
func (v storyView) note(c term.Tone, text string) {
	for i, line := range term.Wrap(term.Printable(text), max(20, v.Out.Width()-stepIndent-2)) {
		indent := stepIndent
		if i > 0 {
			indent += 2
		}
		fmt.Fprintf(v.Out, "%*s%s\n", indent, "", v.Out.Paint(c, line))
	}
}
