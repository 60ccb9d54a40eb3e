package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// storyView shows a story to people, in 80 columns where there are no more: what came on lines with ←, what was done about it below,
// what is wrong in words that cannot be overlooked.
type storyView struct {
	view
	story *audit.Story
	since time.Time
	day   string
	// coverageEvery is how often the syncers check that every event has led to a sync.
	coverageEvery time.Duration
}

// stepIndent, in columns, is where what belongs to a step begins: behind the time and the mark.
const stepIndent = 15

func (v storyView) show() {
	now := v.story.Now
	if s := now.Snapshot; s != nil {
		mark, c := standing(s, now.At)
		fmt.Fprintf(v.out, "%s %s  %s  %s\n", v.out.paint(c, mark), v.out.paint(strong, v.who()), v.out.paint(c, access(s, now.At)), v.out.paint(faint, v.mode()))
	} else {
		what := "no snapshot"
		switch {
		case v.story.Gone() != nil:
			what = "no access: the snapshot is gone"
		case now.Unreadable != "":
			what = "the snapshot cannot be read"
		}
		fmt.Fprintf(v.out, "%s %s  %s  %s\n", v.out.paint(denies, "✗"), v.out.paint(strong, v.who()), v.out.paint(denies, what), v.out.paint(faint, v.mode()))
	}
	v.headline(v.story.Standing(), caveat(v.story))
	fmt.Fprintf(v.out, "\n%s\n", v.out.paint(faint, "  ← came  · came and marks nobody  ✓ = ! ✗ what a sync came to"))
	steps := after(v.story.Steps, v.since)
	if left := len(v.story.Steps) - len(steps); left > 0 {
		fmt.Fprintf(v.out, "\n%s\n", v.out.paint(faint, fmt.Sprintf("%s before %s left out", count(left, "step"), clock(v.since))))
	}
	beyond := passedOver(v.story.Steps)
	for i := 0; i < len(steps); {
		v.dayOf(steps[i].At())
		if e := steps[i].Event; e != nil {
			v.event(e)
			if y := beyond[e]; y != nil {
				v.note(ending, fmt.Sprintf("came while the next sync was reading; the one of %s covers it", y.StoredAt.UTC().Format("15:04:05.000")))
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

func (v storyView) who() string  { return printable(v.story.Customer.String()) }
func (v storyView) mode() string { return string(v.story.Customer.Mode) + " mode" }

func (v *storyView) dayOf(t time.Time) {
	if day := t.UTC().Format("Monday, 2 January 2006"); day != v.day {
		v.day = day
		fmt.Fprintf(v.out, "\n%s\n", v.out.paint(strong, day)+v.out.paint(faint, ", times in UTC"))
	}
}

// passedOver are the events that the next sync below them does not cover, and the one that does: an event that comes while Stripe is
// read may be newer than what is read.
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
	for n < len(steps) && first.Record.Outcome == syncer.Failed {
		next := steps[n].Sync
		if next == nil || next.Record.Outcome != syncer.Failed || next.Record.Error != first.Record.Error {
			break
		}
		n++
	}
	return n
}

func (v storyView) head(t time.Time, c tone, mark, text string) {
	lines := wrap(text, max(20, v.out.width()-stepIndent))
	fmt.Fprintf(v.out, "%s %s %s\n", v.out.paint(faint, t.UTC().Format("15:04:05.000")), v.out.paint(c, mark), v.out.paint(c, lines[0]))
	for _, line := range lines[1:] {
		fmt.Fprintf(v.out, "%*s%s\n", stepIndent, "", v.out.paint(c, line))
	}
}

// note is a line below a step.
func (v storyView) note(c tone, text string) {
	for i, line := range wrap(printable(text), max(20, v.out.width()-stepIndent-2)) {
		indent := stepIndent
		if i > 0 {
			indent += 2
		}
		fmt.Fprintf(v.out, "%*s%s\n", indent, "", v.out.paint(c, line))
	}
}

func (v storyView) event(e *audit.Heard) {
	c, mark := normal, "←"
	if e.Fate == audit.Kept {
		c, mark = faint, "·"
	}
	id := printable(e.ID)
	typ := printable(e.Type)
	room := v.out.width() - stepIndent - 2 - columns(id)
	typ = pad(v.out.endOf(typ, max(room, 20)), room)
	fmt.Fprintf(v.out, "%s %s %s  %s\n", v.out.paint(faint, e.StoredAt.Format("15:04:05.000")), v.out.paint(c, mark), v.out.paint(c, typ), v.out.paint(faint, id))
	if late := e.StoredAt.Sub(e.Created); !e.Created.IsZero() && late > lateAfter {
		v.note(ending, fmt.Sprintf("came late: Stripe generated it at %s, %s before", e.Created.Format("15:04:05"), ago(late)))
	}
	if e.Repeat {
		v.note(faint, "a repeat: the same event came before")
	}
	if e.Damaged {
		v.note(denies, "the stored body is not the one that arrived")
	}
	switch e.Fate {
	case audit.Uncovered:
		v.note(denies, fmt.Sprintf("✗✗ NO SYNC COVERS THIS EVENT (%d), AND NONE IS PENDING", e.Seq))
	case audit.Waiting:
		text := "waits for the sync that is pending"
		if len(v.story.Now.Markers) == 0 {
			text = "waits for a sync: it has just come, and its marker may be on its way"
		}
		if f := v.story.Now.Failure; f != nil && f.ParkedAt != nil {
			text = "waits: the customer is parked, and this event has it tried again"
		}
		v.note(ending, text)
	case audit.SetAside:
		v.note(ending, "no sync yet: the customer is parked")
	}
}

// lateAfter is how old an event may be when it comes before it is said.
const lateAfter = 10 * time.Second

// sync shows n syncs that are alike, from the first to the last.
func (v storyView) sync(s, last *audit.Sync, n int) {
	r := &s.Record
	if s.Forgotten {
		v.head(s.StoredAt, ending, "✗", "forgotten: all that was kept before was erased by hand")
		return
	}
	if s.Unreadable != "" {
		v.head(s.StoredAt, ending, "?", fmt.Sprintf("record %d cannot be read: it covers nothing", s.Seq))
		v.note(faint, s.Unreadable)
		return
	}
	text := string(r.Outcome)
	if r.Revision != 0 {
		text += fmt.Sprintf(", revision %d", r.Revision)
	}
	text += " · " + triggered(r)
	mark, c := "✓", grants
	switch r.Outcome {
	case syncer.Failed:
		mark, c = "!", ending
	case syncer.Parked:
		mark, c = "✗", denies
	case syncer.Unchanged:
		mark, c = "=", normal
	case syncer.Deleted:
		mark, c = "✗", denies
	}
	v.head(s.StoredAt, c, mark, printable(text))
	if s.Vanished != nil {
		v.note(ending, restored(s.Vanished))
	}
	if covered := v.covered(s); covered != "" {
		v.note(normal, "covers "+covered)
	}
	if r.Error != "" {
		v.note(c, r.Error)
	}
	if n > 1 {
		v.note(c, fmt.Sprintf("%d more times until %s", n-1, last.StoredAt.Format("15:04:05")))
	}
	if r.Outcome == syncer.Parked {
		v.note(denies, "PARKED: no more attempts until its next event, a request or a redrive")
	}
	if s.Unannounced {
		v.note(ending, "no event had told of this change: "+foundBy(r))
	}
	if r.Conflicts > 0 {
		v.note(ending, fmt.Sprintf("overtaken %s: another sync had written first, so what was read was thrown away and all was read again", times(r.Conflicts)))
	}
	v.note(faint, waits(s))
	if len(r.StripeRequestIDs) > 0 {
		v.note(faint, strings.Join(r.StripeRequestIDs, " "))
	}
	v.changes(s)
}

// covered says which events a sync covers, by the times of their lines. They follow one another but for those that mark nobody.
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
		return count(n, "event") + ", " + first.Format("2 Jan "+at) + " to " + last.Format("2 Jan "+at)
	}
	return count(n, "event") + ", " + first.Format(at) + " to " + last.Format(at)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// triggered says what led to a sync.
func triggered(r *syncer.Record) string {
	switch r.Trigger {
	case stripeevent.TriggerWebhook:
		return "by webhook"
	case stripeevent.TriggerWake:
		return "by its scheduled check"
	case stripeevent.TriggerRequest:
		return "asked for by an app"
	case stripeevent.TriggerCoverage:
		return "by the coverage check"
	case stripeevent.TriggerRedrive:
		return "redriven by hand"
	}
	return "by " + r.Trigger
}

// foundBy says how a change was noticed that no event had told of.
func foundBy(r *syncer.Record) string {
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
	case next != nil && (s.Vanished != nil || s.Before == nil && s.Record.Outcome == syncer.Created):
		v.snapshot(next, s.StoredAt)
	case len(s.Changes) > 0:
		v.differences(s.Changes, s.StoredAt)
	case len(s.Record.Changed) > 0:
		v.note(normal, "changed: "+strings.Join(s.Record.Changed, ", "))
	}
}

func (v storyView) snapshot(s *entitlement.Snapshot, at time.Time) {
	_, c := standing(s, at)
	v.note(c, access(s, at))
	for i := range s.Subscriptions {
		v.note(normal, subscriptionText(&s.Subscriptions[i]))
	}
	if len(s.Features) > 0 {
		v.note(normal, "features "+strings.Join(s.Features, ", "))
	}
}

func (v storyView) differences(list []audit.Change, at time.Time) {
	for _, d := range list {
		if d.Path == "next_boundary" && len(list) > 1 {
			continue // follows from the rest
		}
		c := normal
		if d.Path == "access" {
			if c = denies; string(d.To) == "true" {
				c = grants
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

// place is a path as short as it can be told: an id is there to tell one from another.
func (v storyView) place(path string) string {
	parts := strings.Split(path, ".")
	if parts[0] != "subscriptions" || len(parts) < 3 {
		return path
	}
	parts = parts[1:]
	parts[0] = v.out.shortenID(parts[0], shortestID)
	if parts[1] == "items" && len(parts) > 3 {
		parts[2] = v.out.shortenID(parts[2], shortestID)
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
	case "access_until", "next_boundary", "current_period_start", "current_period_end", "cancel_at", "canceled_at", "ended_at", "trial_end":
		return true
	}
	return false
}

func date(unix int64) string { return time.Unix(unix, 0).UTC().Format("2 Jan 2006 15:04") }

func subscriptionText(s *entitlement.Subscription) string {
	parts := []string{s.ID, s.Status}
	if plan := planOf(s); plan != "" {
		parts = append(parts, plan)
	}
	switch end := leaves(s); {
	case s.EndedAt != nil:
		parts = append(parts, "ended "+date(*s.EndedAt))
	case end != nil:
		parts = append(parts, "ends "+date(*end))
	default:
		parts = append(parts, "period to "+date(s.CurrentPeriodEnd))
	}
	if s.PaymentMethod != nil {
		parts = append(parts, paymentMethod(s.PaymentMethod))
	}
	return strings.Join(parts, " · ")
}
