package follow

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// noon is when everything in these tests is seen.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func unix(t time.Time) *int64 { u := t.Unix(); return &u }

func days(n int) time.Time { return noon.AddDate(0, 0, n) }

func subscribed(id, status, plan string) entitlement.Subscription {
	one := int64(1)
	return entitlement.Subscription{
		ID: id, Status: status, Access: status == "active" || status == "trialing" || status == "past_due",
		Items: []entitlement.Item{{ID: "si_1", Price: "price_1", Product: "prod_1", LookupKey: plan,
			Quantity: &one}},
		CurrentPeriodStart: days(-3).Unix(), CurrentPeriodEnd: days(27).Unix(),
		PaymentMethod: &entitlement.PaymentMethod{Type: "card", Brand: "visa", Last4: "4242"},
		Metadata:      map[string]string{},
	}
}

func snapshotOf(customer, status string, features []string, subs ...entitlement.Subscription) entitlement.Snapshot {
	s := entitlement.Snapshot{
		Schema: 1, Customer: customer, Status: status, Features: features, Metadata: map[string]string{},
		Subscriptions: subs,
		AsOf:          noon.Add(-2 * time.Second), ChangedAt: noon.Add(-2 * time.Second),
		Cause: entitlement.Cause{Trigger: "webhook", Event: "evt_1Nv", Type: "customer.subscription.updated"},
	}
	for _, sub := range subs {
		s.Access = s.Access || sub.Access
	}
	return s
}

// modified is a copy of a subscription with something else.
func modified(s entitlement.Subscription, change func(*entitlement.Subscription)) entitlement.Subscription {
	change(&s)
	return s
}

// changesToShow are changes of every kind.
func changesToShow() []Change {
	starter, pro, team := []string{"export"}, []string{"api_access", "export"},
		[]string{"api_access", "audit_log", "export", "sso"}
	var list []Change
	took := func(trigger string, after time.Duration, requests int) *record.Record {
		received := noon.Add(-after)
		return &record.Record{Trigger: trigger, ReceivedAt: &received, StripeRequests: requests}
	}
	add := func(before *entitlement.Snapshot, after entitlement.Snapshot, r *record.Record) {
		list = append(list, Change{Key: entitlement.Key(after.Account, after.Customer), Revision: 7, Before: before,
			After: after, Seen: noon, Record: r})
	}
	sub := subscribed("sub_1", "active", "pro_monthly")
	active := snapshotOf("cus_Amelia", "active", pro, sub)
	add(nil, active, took("webhook", 3*time.Millisecond, 2))

	trial := modified(subscribed("sub_2", "trialing", "pro_monthly"),
		func(s *entitlement.Subscription) { s.TrialEnd = unix(days(14)) })
	trialing := snapshotOf("cus_Bruno", "trialing", pro, trial)
	add(nil, trialing, took("webhook", 300*time.Microsecond, 2))
	rolled := modified(trial, func(s *entitlement.Subscription) {
		s.Status, s.CurrentPeriodEnd = "active",
			days(44).Unix()
	})
	add(&trialing, snapshotOf("cus_Bruno", "active", pro, rolled), took("webhook", 41*time.Millisecond, 2))

	small := snapshotOf("cus_Chloe", "active", starter, subscribed("sub_3", "active", "starter_monthly"))
	add(&small, snapshotOf("cus_Chloe", "active", team, subscribed("sub_3", "active", "team_monthly")),
		took("webhook", 1234*time.Millisecond, 3))
	seats := modified(sub, func(s *entitlement.Subscription) {
		five := int64(5)
		s.Items = []entitlement.Item{s.Items[0]}
		s.Items[0].Quantity = &five
	})
	one, five := active, snapshotOf("cus_Amelia", "active", pro, seats)
	one.Limits = map[string]entitlement.Limit{"projects": 50, "seats": 1}
	five.Limits = map[string]entitlement.Limit{"projects": entitlement.Unlimited, "seats": 5}
	add(&one, five, took("webhook", 12*time.Second, 1))

	due := snapshotOf("cus_Dmitri", "past_due", team, modified(subscribed("sub_4", "past_due", "team_monthly"),
		func(s *entitlement.Subscription) { s.CurrentPeriodEnd = days(57).Unix() }))
	due.AccessUntil = unix(days(2))
	paid := snapshotOf("cus_Dmitri", "active", team, subscribed("sub_4", "active", "team_monthly"))
	add(&paid, due, took("webhook", 5*time.Millisecond, 2))
	add(&due, paid, took("request", 0, 2))

	leavingSub := modified(sub, func(s *entitlement.Subscription) { s.CancelAtPeriodEnd = true })
	staying, going := snapshotOf("cus_Elif", "active", pro, sub), snapshotOf("cus_Elif", "active", pro, leavingSub)
	going.AccessUntil = unix(days(27))
	add(&staying, going, took("webhook", 8*time.Millisecond, 2))
	add(&going, staying, took("sweep", 0, 1))
	ended := modified(leavingSub, func(s *entitlement.Subscription) {
		s.Status, s.Access, s.EndedAt = "canceled",
			false, unix(days(0))
	})
	add(&going, snapshotOf("cus_Elif", "canceled", []string{}, ended), took("wake", 0, 2))

	deleted := snapshotOf("cus_Farah", "none", []string{})
	deleted.Deleted = true
	had := snapshotOf("cus_Farah", "active", starter, subscribed("sub_5", "active", "starter_monthly"))
	add(&had, deleted, took("webhook", 6*time.Millisecond, 2))

	connected := snapshotOf("cus_NffrFeUfNV2Hib", "active", pro, sub)
	connected.Account = "acct_1Oyr2gLkdIwHu7ix"
	paused := connected
	paused.Subscriptions = []entitlement.Subscription{modified(sub, func(s *entitlement.Subscription) {
		s.PauseCollection = &entitlement.PauseCollection{Behavior: "void"}
	})}
	add(&connected, paused, took("webhook", 2*time.Millisecond, 1))
	two := connected
	two.Subscriptions = []entitlement.Subscription{sub, subscribed("sub_6", "incomplete", "team_monthly")}
	add(&connected, two, nil)
	strange := snapshotOf("cus_\x1b[31mX", "act\x1b[0mive", []string{"a\nb"}, sub)
	add(nil, strange, took("tr\x07igger", 0, 1))
	list = append(list, Change{Key: "cus_Amelia", Before: &active, Seen: noon})
	list = append(list, Change{Key: "cus_Amelia", Initial: true, After: active, Seen: noon})
	return list
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, width := range []int{50, 60, 80, 100, 120} {
		var b bytes.Buffer
		l := lines{out: term.Terminal{Writer: &b, Screen: true, Cols: width}}
		for _, c := range changesToShow() {
			line := l.format(c)
			if n := term.Columns(line); n > width {
				t.Errorf("%d columns in %d: %s", n, width, line)
			}
			fmt.Fprintln(&b, line)
		}
		golden(t, fmt.Sprintf("lines-%d.txt", width), b.String())
	}
}

// A line in a file or a pipe says everything, however long it gets.
func TestLinesAreWholeInAPipe(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := lines{out: term.Terminal{Writer: &b, Cols: 60}}
	for _, c := range changesToShow() {
		line := l.format(c)
		for _, p := range phrases(c.Before, &c.After, c.Seen) {
			if !strings.Contains(line, p.text) {
				t.Errorf("%q is missing in %s", p.text, line)
			}
		}
		if !strings.Contains(line, whoOf(c)+" ") {
			t.Errorf("%s is not named in %s", whoOf(c), line)
		}
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := lines{out: term.Terminal{Writer: &b, Screen: true, Cols: 80, Color: true}}
	for _, c := range changesToShow() {
		fmt.Fprintln(&b, l.format(c))
	}
	golden(t, "lines-coloured.txt", strings.ReplaceAll(b.String(), "\x1b", "^"))
}

func TestView(t *testing.T) {
	t.Parallel()
	for _, width := range []int{60, 80} {
		var b bytes.Buffer
		out := term.Terminal{Writer: &b, Cols: width}
		for i, c := range changesToShow() {
			if slices.Contains([]int{0, 1, 4, 5, 7, 9, 10, 11, 12, 13}, i) {
				c.After.Metadata = map[string]string{"plan": "gold", "team": "42"}
				c.After.NextBoundary = unix(days(27))
				tell.Snapshot(out, &c.After, c.Revision, noon)
				fmt.Fprintln(out)
			}
		}
		golden(t, fmt.Sprintf("view-%d.txt", width), b.String())
	}
}
