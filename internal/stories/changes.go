package stories

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

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
func (t *Teller) changes(y *audit.Sync) []Note {
	next := y.Record.Snapshot
	switch {
	case next != nil && (y.Vanished != nil || y.Before == nil && y.Record.Outcome == record.Created):
		return contents(next, y.StoredAt)
	case len(y.Changes) > 0:
		return t.differences(y.Changes)
	case len(y.Record.Changed) > 0:
		return []Note{{term.Normal, "changed: " + strings.Join(y.Record.Changed, ", ")}}
	}
	return nil
}

// contents says what a snapshot holds.
func contents(s *entitlement.Snapshot, at time.Time) []Note {
	_, c := tell.Standing(s, at)
	list := []Note{{c, tell.Access(s, at)}}
	for i := range s.Subscriptions {
		list = append(list, Note{term.Normal, subscriptionText(&s.Subscriptions[i])})
	}
	if len(s.Features) > 0 {
		list = append(list, Note{term.Normal, "features " + strings.Join(s.Features, ", ")})
	}
	return list
}

// A Difference is a field that a sync changed, in words. From is empty for a subscription or an item that
// is new, To for one that is gone.
type Difference struct {
	Path, From, To string
	Tone           term.Tone
}

// Differences puts changes into words.
func Differences(changes []audit.Change) (list []Difference) {
	for _, d := range changes {
		if d.Path == "next_boundary" && len(changes) > 1 {
			continue // follows from the rest
		}
		x := Difference{Path: d.Path, From: value(d.Path, d.From), To: value(d.Path, d.To)}
		if d.Path == "access" {
			if x.Tone = term.Denies; string(d.To) == "true" {
				x.Tone = term.Grants
			}
		}
		switch {
		case whole(d.Path) && string(d.From) == "null":
			x.From = ""
		case whole(d.Path) && string(d.To) == "null":
			x.To = ""
		}
		list = append(list, x)
	}
	return list
}

// differences says what changed.
func (t *Teller) differences(changes []audit.Change) (list []Note) {
	for _, d := range Differences(changes) {
		switch {
		case d.From == "":
			list = append(list, Note{d.Tone, "+ " + d.To})
		case d.To == "":
			list = append(list, Note{d.Tone, "- " + d.From})
		default:
			list = append(list, Note{d.Tone, fmt.Sprintf("%s: %s → %s", t.place(d.Path), d.From, d.To)})
		}
	}
	return list
}

// whole says that a path leads to a subscription or an item of one, not to a field.
func whole(path string) bool {
	parts := strings.Split(path, ".")
	return parts[0] == "subscriptions" && (len(parts) == 2 || len(parts) == 4 && parts[2] == "items")
}

// isItem says that a path leads to an item of a subscription.
func isItem(path string) bool { return whole(path) && strings.Count(path, ".") == 3 }

// place shortens a path: an id stays only to distinguish one object from another.
func (t *Teller) place(path string) string {
	parts := strings.Split(path, ".")
	if parts[0] != "subscriptions" || len(parts) < 3 {
		return path
	}
	parts = parts[1:]
	parts[0] = t.shorten(parts[0], shortestID)
	if parts[1] == "items" && len(parts) > 3 {
		parts[2] = t.shorten(parts[2], shortestID)
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
	if isItem(path) {
		var item entitlement.Item
		if json.Unmarshal(raw, &item) == nil && item.ID != "" {
			return item.ID + " · " + tell.PlanOf(&entitlement.Subscription{Items: []entitlement.Item{item}})
		}
	} else if whole(path) {
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
		"ended_at", "trial_end", "until", "resumes_at":
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
