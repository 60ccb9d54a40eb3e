package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// show prints a snapshot for people: what it allows first, where it comes from last.
func show(out terminal, s *entitlement.Snapshot, revision uint64, now time.Time) {
	v := view{out}
	v.first(s, now)
	v.rest(s, revision, now)
}

// first is the line that says what it allows.
func (v view) first(s *entitlement.Snapshot, now time.Time) {
	mark, c := standing(s, now)
	customer := stripeevent.Customer{Account: s.Account, ID: s.Customer}
	fmt.Fprintf(v.out, "%s %s  %s  %s\n", v.out.paint(c, mark), v.out.paint(strong, printable(customer.String())),
		v.out.paint(c, access(s, now)), v.out.paint(faint, string(entitlement.ModeOf(s.Livemode))+" mode"))
}

func (v view) rest(s *entitlement.Snapshot, revision uint64, now time.Time) {
	if len(s.Features) > 0 {
		v.row("features", strings.Join(s.Features, "  "))
	}
	for i := range s.Subscriptions {
		v.subscription(&s.Subscriptions[i], now)
	}
	if len(s.Subscriptions) == 0 && !s.Deleted {
		v.row("subscriptions", "none")
	}
	v.metadata(s.Metadata)
	if len(s.Omitted) > 0 {
		v.row("left out", strings.Join(s.Omitted, ", ")+": too large for a message of the NATS server (max_payload)")
	}
	if b := s.NextBoundary; b != nil {
		v.row("next change", fmt.Sprintf("due %s, and looked at by itself 2 minutes later", instant(*b, now)))
	}
	if s.AsOf.IsZero() {
		v.row("as of", fmt.Sprintf("not read from Stripe: no syncer wrote this entry; revision %d", revision))
		return
	}
	cause := "by " + s.Cause.Trigger
	if s.Cause.Event != "" { // it led to the sync; another may tell of the change
		cause = fmt.Sprintf("after %s %s", s.Cause.Type, s.Cause.Event)
	}
	v.row("changed", since(s.ChangedAt, now)+" "+cause)
	v.row("as of", fmt.Sprintf("%s (%s), revision %d", s.AsOf.UTC().Format("2006-01-02 15:04:05.000 UTC"), since(s.AsOf, now), revision))
}

// access says whether there is access and why, in a sentence.
func access(s *entitlement.Snapshot, now time.Time) string {
	switch allowed := s.Allowed(now); {
	case s.Deleted:
		return "no access: the customer was deleted, or Stripe does not know it"
	case s.Status == entitlement.StatusNone:
		return "no access: no subscription"
	case allowed && s.AccessUntil != nil:
		return fmt.Sprintf("access, %s, until %s", status(s), instant(*s.AccessUntil, now))
	case allowed:
		return "access, " + status(s)
	case s.Access:
		return fmt.Sprintf("no access: %s, ended %s", status(s), instant(*s.AccessUntil, now))
	}
	return "no access: " + status(s)
}

// view writes labelled rows and wraps them under themselves.
type view struct{ out terminal }

const labelWidth = 14

func (v view) row(label, text string) {
	room := max(20, v.out.width()-labelWidth-2)
	for i, line := range wrap(printable(text), room) {
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(v.out, "  %s%s\n", v.out.paint(faint, pad(label, labelWidth)), line)
	}
}

// line is a row that is to be copied, and so is not wrapped.
func (v view) line(label, text string) {
	fmt.Fprintf(v.out, "  %s%s\n", v.out.paint(faint, pad(label, labelWidth)), printable(text))
}

func (v view) subscription(s *entitlement.Subscription, now time.Time) {
	parts := []string{s.ID, s.Status}
	if plan := planOf(s); plan != "" {
		parts = append(parts, plan)
	}
	end := leaves(s)
	switch {
	case s.EndedAt != nil:
		parts = append(parts, "ended "+instant(*s.EndedAt, now))
	case end != nil:
		parts = append(parts, "ends "+instant(*end, now))
	case s.TrialEnd != nil && s.Status == "trialing":
		parts = append(parts, "trial to "+instant(*s.TrialEnd, now))
	default:
		parts = append(parts, "period to "+instant(s.CurrentPeriodEnd, now))
	}
	if p := s.PauseCollection; p != nil {
		text := "collection paused (" + p.Behavior + ")"
		if p.ResumesAt != nil {
			text += " until " + instant(*p.ResumesAt, now)
		}
		parts = append(parts, text)
	}
	if s.PaymentMethod != nil {
		parts = append(parts, paymentMethod(s.PaymentMethod))
	}
	v.row("subscription", strings.Join(parts, " · "))
}

func (v view) metadata(m map[string]string) {
	if len(m) == 0 {
		return
	}
	list := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	v.row("metadata", strings.Join(list, " · "))
}

// wrap breaks text between words into lines of at most width columns; a longer word has a line of its own. What stands between backticks, a
// command to copy, is one word.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range words(text) {
		if line != "" && columns(line)+1+columns(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func words(text string) []string {
	var list []string
	open := false
	for word := range strings.FieldsSeq(text) {
		if open {
			list[len(list)-1] += " " + word
		} else {
			list = append(list, word)
		}
		open = open != (strings.Count(word, "`")%2 == 1)
	}
	return list
}

// instant is a time given by Stripe, in unix seconds: the day, and how far it is.
func instant(unix int64, now time.Time) string {
	t := time.Unix(unix, 0).UTC()
	d := t.Sub(now)
	text := t.Format("2 Jan 2006")
	if d.Abs() < 48*time.Hour {
		text = t.Format("2 Jan 15:04 UTC")
	}
	switch {
	case d.Abs() < time.Second:
		return text + " (now)"
	case d < 0:
		return text + " (" + ago(-d) + " ago)"
	}
	return text + " (in " + ago(d) + ")"
}

func since(t, now time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	d := now.Sub(t)
	if d < 0 {
		return "just now"
	}
	return ago(d) + " ago"
}
