package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"entitled/entitlement"
)

// A phrase is one thing that changed, in a few words.
type phrase struct {
	text string
	// brief is for where there is little room.
	brief string
	tone  tone
	// minor phrases are left out where there is little room.
	minor bool
}

// phraseList collects what changed, most important first.
type phraseList struct {
	list []phrase
	now  time.Time
}

func (l *phraseList) add(t tone, text string) { l.both(t, text, text) }

func (l *phraseList) both(t tone, text, brief string) {
	l.list = append(l.list, phrase{text: printable(text), brief: printable(brief), tone: t})
}

func (l *phraseList) minor(text string) {
	l.list = append(l.list, phrase{text: printable(text), brief: printable(text), minor: true})
}

// day is a date as short as it can be.
func (l *phraseList) day(unix int64) string {
	t := time.Unix(unix, 0).UTC()
	if t.Sub(l.now).Abs() < 300*24*time.Hour {
		return t.Format("2 Jan")
	}
	return t.Format("2 Jan 2006")
}

// standing is a snapshot's access in one character, and its colour.
func standing(s *entitlement.Snapshot, now time.Time) (mark string, c tone) {
	switch {
	case !s.Allowed(now):
		return "✗", denies
	case s.AccessUntil != nil:
		return "~", ending
	}
	return "✓", grants
}

// status is the snapshot's status, or that the customer is no more.
func status(s *entitlement.Snapshot) string {
	switch {
	case s.Customer == "":
		return "unknown"
	case s.Deleted:
		return "deleted"
	}
	return printable(s.Status)
}

// transition is what became of the status.
func transition(c change) string {
	was, is := "new", status(&c.after)
	if c.before != nil {
		was = status(c.before)
	}
	if c.initial || was == is {
		return is
	}
	return was + " → " + is
}

// phrases says what changed besides the status, most important first. A snapshot seen for the first time is compared
// with an empty one.
func phrases(before, after *entitlement.Snapshot, now time.Time) []phrase {
	if before == nil {
		before = &entitlement.Snapshot{}
	}
	l := &phraseList{now: now}
	l.features(grants, "+", missingFrom(after.Features, before.Features))
	l.features(denies, "-", missingFrom(before.Features, after.Features))
	if until := after.AccessUntil; after.Access && until != nil && !same(until, before.AccessUntil) && !leavesAtEnd(after) {
		l.both(ending, "access until "+l.day(*until), "until "+l.day(*until))
	}
	for i := range after.Subscriptions {
		sub := &after.Subscriptions[i]
		l.subscription(subscription(before, sub.ID), sub, len(after.Subscriptions) > 1)
	}
	for i := range before.Subscriptions {
		if id := before.Subscriptions[i].ID; subscription(after, id) == nil && !after.Deleted && after.Customer != "" {
			l.add(denies, id+" gone")
		}
	}
	if !after.Deleted && !sameMetadata(before.Metadata, after.Metadata) {
		l.add(normal, "metadata")
	}
	if len(l.list) == 0 && before.Customer != "" && before.Status == after.Status && before.Deleted == after.Deleted {
		for _, d := range entitlement.Diff(before, after) {
			l.add(normal, d.Path)
		}
	}
	return l.list
}

func (l *phraseList) features(t tone, sign string, features []string) {
	switch n := len(features); {
	case n == 1:
		l.add(t, sign+features[0])
	case n > 1:
		l.both(t, sign+strings.Join(features, " "+sign), fmt.Sprintf("%s%d features", sign, n))
	}
}

// subscription tells of one subscription; was is nil for a new one. Where there are several, each is named.
func (l *phraseList) subscription(was, is *entitlement.Subscription, several bool) {
	created := was == nil
	if created {
		was = &entitlement.Subscription{}
	}
	live := is.EndedAt == nil
	if several && !created && was.Status != is.Status {
		l.add(normal, planOf(is)+" "+is.Status)
	}
	switch before, after := planOf(was), planOf(is); {
	case created && (several || !is.Access):
		l.add(normal, after+" "+is.Status)
	case created && len(l.list) > 0:
		l.minor(after) // the features tell
	case created:
		l.add(normal, after)
	case before != after:
		l.both(normal, before+" → "+after, "→ "+after)
	}
	if is.TrialEnd != nil && !same(is.TrialEnd, was.TrialEnd) && live {
		l.both(normal, "trial to "+l.day(*is.TrialEnd), "to "+l.day(*is.TrialEnd))
	}
	switch now, then := leaves(is), leaves(was); {
	case !live:
	case now != nil && !same(now, then):
		l.add(ending, "ends "+l.day(*now))
	case now == nil && then != nil:
		l.add(grants, "stays after all")
	}
	// A period that rolled without being paid is no renewal yet.
	if !created && is.Access && is.Status != "past_due" && is.CurrentPeriodEnd > was.CurrentPeriodEnd {
		l.both(normal, "renewed to "+l.day(is.CurrentPeriodEnd), "to "+l.day(is.CurrentPeriodEnd))
	}
	switch {
	case is.PauseCollection != nil && was.PauseCollection == nil:
		l.add(ending, "collection paused")
	case is.PauseCollection == nil && was.PauseCollection != nil && live:
		l.add(normal, "collection resumed")
	}
	switch pm := is.PaymentMethod; {
	case pm == nil:
	case created:
		l.minor(paymentMethod(pm))
	case was.PaymentMethod == nil || *pm != *was.PaymentMethod:
		l.add(normal, paymentMethod(pm))
	}
	if !created && !sameMetadata(was.Metadata, is.Metadata) {
		l.add(normal, "metadata")
	}
}

// leaves is when a subscription is set to be cancelled, in unix seconds; nil when it is not.
func leaves(s *entitlement.Subscription) *int64 {
	switch {
	case s.CancelAt != nil:
		return s.CancelAt
	case s.CancelAtPeriodEnd:
		return &s.CurrentPeriodEnd
	}
	return nil
}

// leavesAtEnd says that the end of access is a cancellation that is told of already.
func leavesAtEnd(s *entitlement.Snapshot) bool {
	return slices.ContainsFunc(s.Subscriptions, func(sub entitlement.Subscription) bool {
		end := leaves(&sub)
		return sub.Access && end != nil && s.AccessUntil != nil && *end == *s.AccessUntil
	})
}

// planOf names what a subscription is to: the lookup keys of its prices, or their ids.
func planOf(s *entitlement.Subscription) string {
	text := ""
	for i, it := range s.Items {
		if i > 0 {
			text += " + "
		}
		if it.LookupKey != "" {
			text += it.LookupKey
		} else {
			text += it.Price
		}
		if it.Quantity != nil && *it.Quantity != 1 {
			text += " ×" + strconv.FormatInt(*it.Quantity, 10)
		}
	}
	return text
}

func paymentMethod(pm *entitlement.PaymentMethod) string {
	text := pm.Type
	if pm.Brand != "" {
		text = pm.Brand
	}
	if pm.Last4 != "" {
		text += " " + pm.Last4
	}
	return text
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
