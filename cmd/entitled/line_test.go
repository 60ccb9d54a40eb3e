package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/syncer"
)

// noon is when everything in these tests is seen.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func unix(t time.Time) *int64 { u := t.Unix(); return &u }

func days(n int) time.Time { return noon.AddDate(0, 0, n) }

func subscribed(id, status, plan string) entitlement.Subscription {
	one := int64(1)
	return entitlement.Subscription{
		ID: id, Status: status, Access: status == "active" || status == "trialing" || status == "past_due",
		Items:              []entitlement.Item{{ID: "si_1", Price: "price_1", Product: "prod_1", LookupKey: plan, Quantity: &one}},
		CurrentPeriodStart: days(-3).Unix(), CurrentPeriodEnd: days(27).Unix(),
		PaymentMethod: &entitlement.PaymentMethod{Type: "card", Brand: "visa", Last4: "4242"},
		Metadata:      map[string]string{},
	}
}

func snapshotOf(customer, status string, features []string, subs ...entitlement.Subscription) entitlement.Snapshot {
	s := entitlement.Snapshot{
		Schema: 1, Customer: customer, Status: status, Features: features, Metadata: map[string]string{}, Subscriptions: subs,
		AsOf: noon.Add(-2 * time.Second), ChangedAt: noon.Add(-2 * time.Second),
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
func changesToShow() []change {
	starter, pro, team := []string{"export"}, []string{"api_access", "export"}, []string{"api_access", "audit_log", "export", "sso"}
	var list []change
	took := func(trigger string, after time.Duration, requests int) *syncer.Record {
		received := noon.Add(-after)
		return &syncer.Record{Trigger: trigger, ReceivedAt: &received, StripeRequests: requests}
	}
	add := func(before *entitlement.Snapshot, after entitlement.Snapshot, r *syncer.Record) {
		list = append(list, change{key: entitlement.Key(after.Account, after.Customer), revision: 7, before: before, after: after, seen: noon, record: r})
	}
	sub := subscribed("sub_1", "active", "pro_monthly")
	active := snapshotOf("cus_Amelia", "active", pro, sub)
	add(nil, active, took("webhook", 3*time.Millisecond, 2))

	trial := modified(subscribed("sub_2", "trialing", "pro_monthly"), func(s *entitlement.Subscription) { s.TrialEnd = unix(days(14)) })
	trialing := snapshotOf("cus_Bruno", "trialing", pro, trial)
	add(nil, trialing, took("webhook", 300*time.Microsecond, 2))
	rolled := modified(trial, func(s *entitlement.Subscription) { s.Status, s.CurrentPeriodEnd = "active", days(44).Unix() })
	add(&trialing, snapshotOf("cus_Bruno", "active", pro, rolled), took("webhook", 41*time.Millisecond, 2))

	small := snapshotOf("cus_Chloe", "active", starter, subscribed("sub_3", "active", "starter_monthly"))
	add(&small, snapshotOf("cus_Chloe", "active", team, subscribed("sub_3", "active", "team_monthly")), took("webhook", 1234*time.Millisecond, 3))
	seats := modified(sub, func(s *entitlement.Subscription) {
		five := int64(5)
		s.Items = []entitlement.Item{s.Items[0]}
		s.Items[0].Quantity = &five
	})
	add(&active, snapshotOf("cus_Amelia", "active", pro, seats), took("webhook", 12*time.Second, 1))

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
	ended := modified(leavingSub, func(s *entitlement.Subscription) { s.Status, s.Access, s.EndedAt = "canceled", false, unix(days(0)) })
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
	list = append(list, change{key: "cus_Amelia", before: &active, seen: noon})
	list = append(list, change{key: "cus_Amelia", initial: true, after: active, seen: noon})
	return list
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, width := range []int{50, 60, 80, 100, 120} {
		var b bytes.Buffer
		l := lines{out: terminal{Writer: &b, fd: -1, clips: true, cols: width}}
		for _, c := range changesToShow() {
			line := l.format(c)
			if n := columns(line); n > width {
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
	l := lines{out: terminal{Writer: &b, fd: -1, cols: 60}}
	for _, c := range changesToShow() {
		line := l.format(c)
		for _, p := range phrases(c.before, &c.after, c.seen) {
			if !strings.Contains(line, p.text) {
				t.Errorf("%q is missing in %s", p.text, line)
			}
		}
		if !strings.Contains(line, c.who()+" ") {
			t.Errorf("%s is not named in %s", c.who(), line)
		}
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := lines{out: terminal{Writer: &b, fd: -1, clips: true, cols: 80, color: true}}
	for _, c := range changesToShow() {
		fmt.Fprintln(&b, l.format(c))
	}
	golden(t, "lines-coloured.txt", strings.ReplaceAll(b.String(), "\x1b", "^"))
}

func TestJSONLine(t *testing.T) {
	t.Parallel()
	c := changesToShow()[0]
	line := c.encode()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	want := map[string]json.RawMessage{"key": []byte(`"cus_Amelia"`), "revision": []byte("7"), "snapshot": c.after.Encode()}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
		t.Errorf("not one line: %q", line)
	}
	if gone := string(change{key: "cus_1"}.encode()); gone != `{"key":"cus_1","revision":0,"snapshot":null}`+"\n" {
		t.Errorf("a customer that is not in the bucket: %s", gone)
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	for _, width := range []int{60, 80} {
		var b bytes.Buffer
		out := terminal{Writer: &b, fd: -1, cols: width}
		for i, c := range changesToShow() {
			if slices.Contains([]int{0, 1, 4, 5, 7, 9, 10, 11, 12, 13}, i) {
				c.after.Metadata = map[string]string{"plan": "gold", "team": "42"}
				c.after.NextBoundary = unix(days(27))
				show(out, &c.after, c.revision, noon)
				fmt.Fprintln(out)
			}
		}
		golden(t, fmt.Sprintf("view-%d.txt", width), b.String())
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "<1 ms", 999 * time.Microsecond: "<1 ms", 42 * time.Millisecond: "42 ms", 1500 * time.Millisecond: "1.5 s",
		42 * time.Second: "42 s", 3 * time.Minute: "3 minutes", 36 * time.Hour: "36 hours", 80 * time.Hour: "3 days", 800 * 24 * time.Hour: "2 years",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	list := []time.Duration{5, 1, 4, 2, 3}
	if p50, p99 := quantile(list, 0.5), quantile(list, 0.99); p50 != 3 || p99 != 5 {
		t.Errorf("p50 %d, p99 %d of %v", p50, p99, list)
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of nothing")
	}
}
