package stories

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A Step is a step of a story in words: an event that arrived, or a sync and its retries. Its texts are
// as they came; printing them is safe only after [term.Printable], or escaped.
type Step struct {
	At   time.Time
	Mark string
	Tone term.Tone
	// Text says what happened; of an event it is the type. ID is the event's.
	Text, ID string
	Notes    []Note
	// Event or Sync is the step itself; of several syncs that are alike, the first.
	Event *audit.Heard
	Sync  *audit.Sync
}

// A Note is a line below a step.
type Note struct {
	Tone term.Tone
	Text string
}

func (s *Step) note(c term.Tone, text string) { s.Notes = append(s.Notes, Note{c, text}) }

// A Teller puts the steps of a story into words.
type Teller struct {
	story  *audit.Story
	beyond map[*audit.Heard]*audit.Sync
	events map[uint64]*audit.Heard
	// shorten cuts an id to a width, where ids only tell one object from another.
	shorten func(id string, width int) string
}

// NewTeller tells a story. shorten, if not nil, cuts an id to a width in columns.
func NewTeller(story *audit.Story, shorten func(id string, width int) string) *Teller {
	if shorten == nil {
		shorten = func(id string, _ int) string { return id }
	}
	t := &Teller{story, passedOver(story.Steps), map[uint64]*audit.Heard{}, shorten}
	for _, step := range story.Steps {
		if e := step.Event; e != nil {
			t.events[e.Seq] = e
		}
	}
	return t
}

// Groups returns the steps as explain prints them: syncs in a row that fail with the same error are one.
func Groups(steps []audit.Step) [][]audit.Step {
	var groups [][]audit.Step
	for len(steps) > 0 {
		n := 1
		if steps[0].Event == nil {
			n = alike(steps)
		}
		groups, steps = append(groups, steps[:n]), steps[n:]
	}
	return groups
}

// Step tells one of [Groups].
func (t *Teller) Step(group []audit.Step) Step {
	if e := group[0].Event; e != nil {
		return t.event(e)
	}
	return t.sync(group[0].Sync, group[len(group)-1].Sync, len(group))
}

// passedOver are the events that the next sync below them does not cover, and the one that does: an
// event that comes while Stripe is read may be newer than what is read.
func passedOver(steps []audit.Step) map[*audit.Heard]*audit.Sync {
	list := map[*audit.Heard]*audit.Sync{}
	syncs := map[uint64]*audit.Sync{}
	var next *audit.Sync
	for _, step := range slices.Backward(steps) {
		switch y, e := step.Sync, step.Event; {
		case y != nil && y.Succeeded():
			next, syncs[y.Seq] = y, y
		case e != nil && e.Fate == audit.Covered && next != nil && e.CoveredBy != next.Seq:
			if by := syncs[e.CoveredBy]; by != nil {
				list[e] = by
			}
		}
	}
	return list
}

// alike counts the steps from the first that are failures with the same error, as retries are.
func alike(steps []audit.Step) int {
	first := steps[0].Sync
	n := 1
	for n < len(steps) && first.Record.Outcome == record.Failed {
		next := steps[n].Sync
		if next == nil || next.Record.Outcome != record.Failed || next.Record.Error != first.Record.Error {
			break
		}
		n++
	}
	return n
}

func (t *Teller) event(e *audit.Heard) Step {
	s := Step{At: e.StoredAt, Mark: "←", Text: term.Printable(e.Type), ID: e.ID, Event: e}
	if e.Fate == audit.Kept {
		s.Tone, s.Mark = term.Faint, "·"
	}
	if late := e.StoredAt.Sub(e.Created); !e.Created.IsZero() && late > lateAfter {
		s.note(term.Ending, fmt.Sprintf("late: Stripe generated it at %s, %s "+
			"before", e.Created.Format("15:04:05"), tell.Ago(late)))
	}
	if e.Repeat {
		s.note(term.Faint, "a repeat of an earlier event")
	}
	if e.Damaged {
		s.note(term.Denies, "the stored body is not the one that arrived")
	}
	switch e.Fate {
	case audit.Uncovered:
		s.note(term.Denies, fmt.Sprintf("✗✗ NO SYNC COVERS THIS EVENT (%d), AND NONE IS PENDING", e.Seq))
	case audit.Waiting:
		text := "waits for the pending sync"
		if len(t.story.Now.Markers) == 0 {
			text = "waits for a sync: it has just arrived, and its marker may be on its way"
		}
		if f := t.story.Now.Failure; f != nil && f.ParkedAt != nil {
			text = "waits: the customer is parked, and this event starts a new attempt"
		}
		s.note(term.Ending, text)
	case audit.SetAside:
		s.note(term.Ending, "no sync yet: the customer is parked")
	}
	if y := t.beyond[e]; y != nil {
		s.note(term.Ending, fmt.Sprintf("arrived while the next sync was reading; the sync of %s "+
			"covers it", y.StoredAt.UTC().Format("15:04:05.000")))
	}
	return s
}

// lateAfter is how old an event may be when it comes before it is said.
const lateAfter = 10 * time.Second

// sync shows n syncs that are alike, from the first to the last.
func (t *Teller) sync(y, last *audit.Sync, n int) Step {
	r := &y.Record
	s := Step{At: y.StoredAt, Sync: y}
	if y.Forgotten {
		s.Tone, s.Mark, s.Text = term.Ending, "✗", "forgotten: all earlier data was erased by hand"
		return s
	}
	if y.Unreadable != "" {
		s.Tone, s.Mark, s.Text = term.Ending, "?", fmt.Sprintf("record %d cannot be read: it covers nothing", y.Seq)
		s.note(term.Faint, y.Unreadable)
		return s
	}
	text := string(r.Outcome)
	if r.Revision != 0 {
		text += fmt.Sprintf(", revision %d", r.Revision)
	}
	text += " · " + triggered(r)
	s.Mark, s.Tone = "✓", term.Grants
	switch r.Outcome {
	case record.Failed:
		s.Mark, s.Tone = "!", term.Ending
	case record.Parked:
		s.Mark, s.Tone = "✗", term.Denies
	case record.Unchanged:
		s.Mark, s.Tone = "=", term.Normal
	case record.Deleted:
		s.Mark, s.Tone = "✗", term.Denies
	}
	s.Text = term.Printable(text)
	if y.Vanished != nil {
		s.note(term.Ending, restored(y.Vanished))
	}
	if covered := t.covered(y); covered != "" {
		s.note(term.Normal, "covers "+covered)
	}
	if r.Error != "" {
		s.note(s.Tone, r.Error)
	}
	if n > 1 {
		s.note(s.Tone, fmt.Sprintf("%d more times until %s", n-1, last.StoredAt.Format("15:04:05")))
	}
	if r.Outcome == record.Parked {
		s.note(term.Denies, "PARKED: no more attempts until its next event, a request or a redrive")
	}
	if y.Unannounced {
		s.note(term.Ending, "no event had announced this change: "+foundBy(r))
	}
	if r.Conflicts > 0 {
		s.note(term.Ending, fmt.Sprintf("overtaken %s: another sync wrote first, so this one dropped its "+
			"reading and read again", times(r.Conflicts)))
	}
	s.note(term.Faint, waits(y))
	if len(r.StripeRequestIDs) > 0 {
		s.note(term.Faint, strings.Join(r.StripeRequestIDs, " "))
	}
	s.Notes = append(s.Notes, t.changes(y)...)
	return s
}

// covered says which events a sync covers, by the times of their lines. They are consecutive
// except for those that mark no customer.
func (t *Teller) covered(y *audit.Sync) string {
	n := len(y.Covers)
	if n == 0 {
		return ""
	}
	var first, last time.Time
	if e := t.events[y.Covers[0]]; e != nil {
		first = e.StoredAt.UTC()
	}
	if e := t.events[y.Covers[n-1]]; e != nil {
		last = e.StoredAt.UTC()
	}
	const at = "15:04:05.000"
	switch {
	case n == 1:
		return "the event of " + first.Format(at)
	case first.YearDay() != last.YearDay() || first.Year() != last.Year():
		return tell.Count(n, "event") + ", " + first.Format("2 Jan "+at) + " to " + last.Format("2 Jan "+at)
	}
	return tell.Count(n, "event") + ", " + first.Format(at) + " to " + last.Format(at)
}
