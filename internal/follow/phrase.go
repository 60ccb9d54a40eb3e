package follow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A phrase is one thing that changed, in a few words.
type phrase struct {
	text string
	// brief is for where there is little room.
	brief string
	tone  term.Tone
	// minor phrases are left out where there is little room.
	minor bool
}

// phraseList collects what changed, most important first.
type phraseList struct {
	list []phrase
	now  time.Time
}

func (l *phraseList) add(t term.Tone, text string) { l.both(t, text, text) }

func (l *phraseList) both(t term.Tone, text, brief string) {
	l.list = append(l.list, phrase{text: term.Printable(text), brief: term.Printable(brief), tone: t})
}

func (l *phraseList) minor(text string) {
	l.list = append(l.list, phrase{text: term.Printable(text), brief: term.Printable(text), minor: true})
}

// day is a date as short as it can be.
func (l *phraseList) day(unix int64) string {
	t := time.Unix(unix, 0).UTC()
	if t.Sub(l.now).Abs() < 300*24*time.Hour {
		return t.Format("2 Jan")
	}
	return t.Format("2 Jan 2006")
}

// transition is what became of the status.
func transition(c Change) string {
	was, is := "new", tell.Status(&c.After)
	if c.Before != nil {
		was = tell.Status(c.Before)
	}
	if c.Initial || was == is {
		return is
	}
	return was + " → " + is
}

// phrases says what changed besides the status, most important first. A snapshot seen for the first
// time is compared with an empty one.
func phrases(before, after *entitlement.Snapshot, now time.Time) []phrase {
	if before == nil {
		before = &entitlement.Snapshot{}
	}
	l := &phraseList{now: now}
	l.features(term.Grants, "+", missingFrom(after.Features, before.Features))
	l.features(term.Denies, "-", missingFrom(before.Features, after.Features))
	if until := after.AccessUntil; after.Access && until != nil && !same(until, before.AccessUntil) &&
		!leavesAtEnd(after) {
		l.both(term.Ending, "access until "+l.day(*until), "until "+l.day(*until))
	}
	for i := range after.Subscriptions {
		sub := &after.Subscriptions[i]
		l.subscription(subscription(before, sub.ID), sub, len(after.Subscriptions) > 1)
	}
	for i := range before.Subscriptions {
		if id := before.Subscriptions[i].ID; subscription(after, id) == nil && !after.Deleted && after.Customer != "" {
			l.add(term.Denies, id+" gone")
		}
	}
	if before.Access && after.Access {
		l.limits(before.Limits, after.Limits)
	}
	if before.Customer != "" && !after.Deleted && !sameMetadata(before.Metadata, after.Metadata) {
		l.add(term.Normal, "metadata")
	}
	if len(l.list) == 0 && before.Customer != "" && before.Status == after.Status && before.Deleted == after.Deleted {
		for _, d := range entitlement.Diff(before, after) {
			l.add(term.Normal, d.Path)
		}
	}
	return l.list
}

// limits says which limits have changed. Those that come or go with the access are not news.
func (l *phraseList) limits(before, after map[string]entitlement.Limit) {
	names := map[string]bool{}
	for _, m := range []map[string]entitlement.Limit{before, after} {
		for name := range m {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was, is := before[name], after[name]; was != is {
			l.both(term.Normal, fmt.Sprintf("%s %v → %v", name, was, is), fmt.Sprintf("%s %v", name, is))
		}
	}
}

func (l *phraseList) features(t term.Tone, sign string, features []string) {
	switch n := len(features); {
	case n == 1:
		l.add(t, sign+features[0])
	case n > 1:
		l.both(t, sign+strings.Join(features, " "+sign), fmt.Sprintf("%s%d features", sign, n))
	}
}

// subscription describes one subscription; was is nil for a new one. Where there are several, each
// is named.
func (l *phraseList) subscription(was, is *entitlement.Subscription, several bool) {
	created := was == nil
	if created {
		was = &entitlement.Subscription{}
	}
	live := is.EndedAt == nil
	if several && !created && was.Status != is.Status {
		l.add(term.Normal, tell.PlanOf(is)+" "+is.Status)
	}
	switch before, after := tell.PlanOf(was), tell.PlanOf(is); {
	case created && (several || !is.Access):
		l.add(term.Normal, after+" "+is.Status)
	case created && len(l.list) > 0:
		l.minor(after) // the features say enough
	case created:
		l.add(term.Normal, after)
	case before != after:
		l.both(term.Normal, before+" → "+after, "→ "+after)
	}
	if is.TrialEnd != nil && !same(is.TrialEnd, was.TrialEnd) && live {
		l.both(term.Normal, "trial to "+l.day(*is.TrialEnd), "to "+l.day(*is.TrialEnd))
	}
	switch now, then := tell.Leaves(is), tell.Leaves(was); {
	case !live:
	case now != nil && !same(now, then):
		l.add(term.Ending, "ends "+l.day(*now))
	case now == nil && then != nil:
		l.add(term.Grants, "stays after all")
	}
	// A period that rolled without being paid is no renewal yet.
	if !created && is.Access && is.Status != "past_due" && is.CurrentPeriodEnd > was.CurrentPeriodEnd {
		l.both(term.Normal, "renewed to "+l.day(is.CurrentPeriodEnd), "to "+l.day(is.CurrentPeriodEnd))
	}
	switch {
	case is.PauseCollection != nil && was.PauseCollection == nil:
		l.add(term.Ending, "collection paused")
	case is.PauseCollection == nil && was.PauseCollection != nil && live:
		l.add(term.Normal, "collection resumed")
	}
	switch pm := is.PaymentMethod; {
	case pm == nil:
	case created:
		l.minor(tell.PaymentMethod(pm))
	case was.PaymentMethod == nil || *pm != *was.PaymentMethod:
		l.add(term.Normal, tell.PaymentMethod(pm))
	}
	if !created && !sameMetadata(was.Metadata, is.Metadata) {
		l.add(term.Normal, "metadata")
	}
}

// leavesAtEnd says that the end of access is a cancellation that was shown already.
func leavesAtEnd(s *entitlement.Snapshot) bool {
	return slices.ContainsFunc(s.Subscriptions, func(sub entitlement.Subscription) bool {
		end := tell.Leaves(&sub)
		return sub.Access && end != nil && s.AccessUntil != nil && *end == *s.AccessUntil
	})
}

func subscription(s *entitlement.Snapshot, id string) *entitlement.Subscription {
	for i := range s.Subscriptions {
		if s.Subscriptions[i].ID == id {
			return &s.Subscriptions[i]
		}
	}
	return nil
}

func missingFrom(all, some []string) []string {
	var list []string
	for _, s := range all {
		if !slices.Contains(some, s) {
			list = append(list, s)
		}
	}
	return list
}

func same(a, b *int64) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func sameMetadata(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}
