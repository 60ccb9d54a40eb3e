package stories

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
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
	beyond := passedOver(v.story.Steps)
	for i := 0; i < len(steps); {
		v.dayOf(steps[i].At())
		if e := steps[i].Event; e != nil {
			v.event(e)
			if y := beyond[e]; y != nil {
				v.note(term.Ending, fmt.Sprintf("arrived while the next sync was reading; the sync of %s "+
					"covers it", y.StoredAt.UTC().Format("15:04:05.000")))
			}
			i++
			continue
		}
		n := alike(steps[i:])
		v.sync(steps[i].Sync, steps[i+n-1].Sync, n)
		i += n
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

func (v storyView) head(t time.Time, c term.Tone, mark, text string) {
	lines := term.Wrap(text, max(20, v.Out.Width()-stepIndent))
	fmt.Fprintf(v.Out, "%s %s %s\n", v.Out.Paint(term.Faint, t.UTC().Format("15:04:05.000")), v.Out.Paint(c, mark),
		v.Out.Paint(c, lines[0]))
	for _, line := range lines[1:] {
		fmt.Fprintf(v.Out, "%*s%s\n", stepIndent, "", v.Out.Paint(c, line))
	}
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

func (v storyView) event(e *audit.Heard) {
	c, mark := term.Normal, "←"
	if e.Fate == audit.Kept {
		c, mark = term.Faint, "·"
	}
	id := term.Printable(e.ID)
	typ := term.Printable(e.Type)
	room := v.Out.Width() - stepIndent - 2 - term.Columns(id)
	typ = term.Pad(v.Out.EndOf(typ, max(room, 20)), room)
	fmt.Fprintf(v.Out, "%s %s %s  %s\n", v.Out.Paint(term.Faint, e.StoredAt.Format("15:04:05.000")),
		v.Out.Paint(c, mark), v.Out.Paint(c, typ), v.Out.Paint(term.Faint, id))
	if late := e.StoredAt.Sub(e.Created); !e.Created.IsZero() && late > lateAfter {
		v.note(term.Ending, fmt.Sprintf("late: Stripe generated it at %s, %s "+
			"before", e.Created.Format("15:04:05"), tell.Ago(late)))
	}
	if e.Repeat {
		v.note(term.Faint, "a repeat of an earlier event")
	}
	if e.Damaged {
		v.note(term.Denies, "the stored body is not the one that arrived")
	}
	switch e.Fate {
	case audit.Uncovered:
		v.note(term.Denies, fmt.Sprintf("✗✗ NO SYNC COVERS THIS EVENT (%d), AND NONE IS PENDING", e.Seq))
	case audit.Waiting:
		text := "waits for the pending sync"
		if len(v.story.Now.Markers) == 0 {
			text = "waits for a sync: it has just arrived, and its marker may be on its way"
		}
		if f := v.story.Now.Failure; f != nil && f.ParkedAt != nil {
			text = "waits: the customer is parked, and this event starts a new attempt"
		}
		v.note(term.Ending, text)
	case audit.SetAside:
		v.note(term.Ending, "no sync yet: the customer is parked")
	}
}

// lateAfter is how old an event may be when it comes before it is said.
const lateAfter = 10 * time.Second

// sync shows n syncs that are alike, from the first to the last.
func (v storyView) sync(s, last *audit.Sync, n int) {
	r := &s.Record
	if s.Forgotten {
		v.head(s.StoredAt, term.Ending, "✗", "forgotten: all earlier data was erased by hand")
		return
	}
	if s.Unreadable != "" {
		v.head(s.StoredAt, term.Ending, "?", fmt.Sprintf("record %d cannot be read: it covers nothing", s.Seq))
		v.note(term.Faint, s.Unreadable)
		return
	}
	text := string(r.Outcome)
	if r.Revision != 0 {
		text += fmt.Sprintf(", revision %d", r.Revision)
	}
	text += " · " + triggered(r)
	mark, c := "✓", term.Grants
	switch r.Outcome {
	case record.Failed:
		mark, c = "!", term.Ending
	case record.Parked:
		mark, c = "✗", term.Denies
	case record.Unchanged:
		mark, c = "=", term.Normal
	case record.Deleted:
		mark, c = "✗", term.Denies
	}
	v.head(s.StoredAt, c, mark, term.Printable(text))
	if s.Vanished != nil {
		v.note(term.Ending, restored(s.Vanished))
	}
	if covered := v.covered(s); covered != "" {
		v.note(term.Normal, "covers "+covered)
	}
	if r.Error != "" {
		v.note(c, r.Error)
	}
	if n > 1 {
		v.note(c, fmt.Sprintf("%d more times until %s", n-1, last.StoredAt.Format("15:04:05")))
	}
	if r.Outcome == record.Parked {
		v.note(term.Denies, "PARKED: no more attempts until its next event, a request or a redrive")
	}
	if s.Unannounced {
		v.note(term.Ending, "no event had announced this change: "+foundBy(r))
	}
	if r.Conflicts > 0 {
		v.note(term.Ending, fmt.Sprintf("overtaken %s: another sync wrote first, so this one dropped its "+
			"reading and read again", times(r.Conflicts)))
	}
	v.note(term.Faint, waits(s))
	if len(r.StripeRequestIDs) > 0 {
		v.note(term.Faint, strings.Join(r.StripeRequestIDs, " "))
	}
	v.changes(s)
}

// covered says which events a sync covers, by the times of their lines. They are consecutive
// except for those that mark no customer.
func (v storyView) covered(s *audit.Sync) string {
	n := len(s.Covers)
	if n == 0 {
		return ""
	}
	var first, last time.Time
	for _, step := range v.story.Steps {
		if e := step.Event; e != nil && e.Seq == s.Covers[0] {
			first = e.StoredAt.UTC()
		}
		if e := step.Event; e != nil && e.Seq == s.Covers[n-1] {
			last = e.StoredAt.UTC()
		}
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

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// triggered says what led to a sync.
func triggered(r *record.Record) string {
	switch r.Trigger {
	case stripeevent.TriggerWebhook:
		return "by webhook"
	case stripeevent.TriggerWake:
		return "by its scheduled check"
	case stripeevent.TriggerRequest:
		return "requested by an app"
	case stripeevent.TriggerCoverage:
		return "by the coverage check"
	case stripeevent.TriggerRedrive:
		return "redriven by hand"
	}
	return "by " + r.Trigger
}

// foundBy says how a change was noticed that no event announced.
func foundBy(r *record.Record) string {
	switch r.Trigger {
	case stripeevent.TriggerWake:
		return "the customer's scheduled check found it"
	case stripeevent.TriggerRequest:
		return "an app's request found it"
	case stripeevent.TriggerCoverage:
		return "the coverage check found it"
	}
	return r.Trigger + " found it"
}

// changes shows what a sync changed; of a first snapshot, what it says.
func (v storyView) changes(s *audit.Sync) {
	next := s.Record.Snapshot
	switch {
	case next != nil && (s.Vanished != nil || s.Before == nil && s.Record.Outcome == record.Created):
		v.snapshot(next, s.StoredAt)
	case len(s.Changes) > 0:
		v.differences(s.Changes, s.StoredAt)
	case len(s.Record.Changed) > 0:
		v.note(term.Normal, "changed: "+strings.Join(s.Record.Changed, ", "))
	}
}

func (v storyView) snapshot(s *entitlement.Snapshot, at time.Time) {
	_, c := tell.Standing(s, at)
	v.note(c, tell.Access(s, at))
	for i := range s.Subscriptions {
		v.note(term.Normal, subscriptionText(&s.Subscriptions[i]))
	}
	if len(s.Features) > 0 {
		v.note(term.Normal, "features "+strings.Join(s.Features, ", "))
	}
}

func (v storyView) differences(list []audit.Change, at time.Time) {
	for _, d := range list {
		if d.Path == "next_boundary" && len(list) > 1 {
			continue // follows from the rest
		}
		c := term.Normal
		if d.Path == "access" {
			if c = term.Denies; string(d.To) == "true" {
				c = term.Grants
			}
		}
		from, to := value(d.Path, d.From), value(d.Path, d.To)
		switch {
		case whole(d.Path) && string(d.From) == "null":
			v.note(c, "+ "+to)
		case whole(d.Path) && string(d.To) == "null":
			v.note(c, "- "+from)
		default:
			v.note(c, fmt.Sprintf("%s: %s → %s", v.place(d.Path), from, to))
		}
	}
}

// whole says that a path leads to a subscription or an item of one, not to a field.
func whole(path string) bool {
	parts := strings.Split(path, ".")
	return parts[0] == "subscriptions" && (len(parts) == 2 || len(parts) == 4 && parts[2] == "items")
}

// place shortens a path: an id stays only to distinguish one object from another.
func (v storyView) place(path string) string {
	parts := strings.Split(path, ".")
	if parts[0] != "subscriptions" || len(parts) < 3 {
		return path
	}
	parts = parts[1:]
	parts[0] = v.Out.ShortenID(parts[0], shortestID)
	if parts[1] == "items" && len(parts) > 3 {
		parts[2] = v.Out.ShortenID(parts[2], shortestID)
	}
	return strings.Join(parts, " ")
}

// shortestID, in columns, keeps enough of an id to find it below, where it is in full.
const shortestID = 12

// value writes a JSON value for people: words as they are, instants as dates.
func value(path string, raw json.RawMessage) string {
	if string(raw) == "null" {
		return "none"
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	var n int64
	if isInstant(name) && json.Unmarshal(raw, &n) == nil {
		return date(n)
	}
	if whole(path) {
		var sub entitlement.Subscription
		if json.Unmarshal(raw, &sub) == nil && sub.ID != "" {
			return subscriptionText(&sub)
		}
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// isInstant says that a field is in unix seconds.
func isInstant(name string) bool {
	switch name {
	case "access_until", "next_boundary", "current_period_start", "current_period_end", "cancel_at", "canceled_at",
		"ended_at", "trial_end":
		return true
	}
	return false
}

func date(unix int64) string { return time.Unix(unix, 0).UTC().Format("2 Jan 2006 15:04") }

func subscriptionText(s *entitlement.Subscription) string {
	parts := []string{s.ID, s.Status}
	if plan := tell.PlanOf(s); plan != "" {
		parts = append(parts, plan)
	}
	switch end := tell.Leaves(s); {
	case s.EndedAt != nil:
		parts = append(parts, "ended "+date(*s.EndedAt))
	case end != nil:
		parts = append(parts, "ends "+date(*end))
	default:
		parts = append(parts, "period to "+date(s.CurrentPeriodEnd))
	}
	if s.PaymentMethod != nil {
		parts = append(parts, tell.PaymentMethod(s.PaymentMethod))
	}
	return strings.Join(parts, " · ")
}
