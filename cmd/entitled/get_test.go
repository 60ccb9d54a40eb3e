package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/follow"
)

// The exit code answers --feature, whether a sentence or the snapshot is printed.
func TestGetFeature(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	snapshot := snapshotOf("cus_Amelia", "active", []string{"export"}, subscribed("sub_1", "active", "pro_monthly"))
	m.put(t, &snapshot)
	for feature, code := range map[string]int{"export": 0, "teleport": 1} {
		if out, errs := m.run(t, code, "get", "cus_Amelia", "--feature", feature); errs != "" || out == "" {
			t.Errorf("%s: %s%s", feature, out, errs)
		}
		out, errs := m.run(t, code, "get", "cus_Amelia", "--feature", feature, "--json")
		if s, err := entitlement.Decode([]byte(out)); err != nil || s.Customer != "cus_Amelia" || errs != "" {
			t.Errorf("%s in JSON: %v\n%s%s", feature, err, out, errs)
		}
	}
}

// An entry written by hand has no times, and none is made up.
func TestGetOfAnEntryByHand(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	s := snapshotOf("cus_Hand", "active", nil, subscribed("sub_1", "active", "pro_monthly"))
	s.AsOf, s.ChangedAt, s.Cause = time.Time{}, time.Time{}, entitlement.Cause{}
	m.put(t, &s)
	out, _ := m.run(t, 0, "get", "cus_Hand")
	if strings.Contains(out, "years") || !strings.Contains(out, "no syncer wrote this entry") {
		t.Errorf("\n%s", out)
	}
	if out, _ := m.run(t, 0, "explain", "cus_Hand"); strings.Contains(out, "292 years") {
		t.Errorf("\n%s", out)
	}
}

// More states than people read are left out, and the output says so.
func TestWatchOfMany(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	for n := range follow.FewEnough + 1 {
		s := snapshotOf(fmt.Sprintf("cus_%d", n), "active", nil)
		m.put(t, &s)
	}
	out, _ := m.run(t, 0, "watch", "--for=50ms")
	if strings.Contains(out, "cus_") || !strings.Contains(strings.ReplaceAll(out, "\n", " "),
		"the current state of more than 20 is left out") {
		t.Errorf("\n%s", out)
	}
}

// --limit and --feature give the reason, and the exit code answers.
func TestGetReasons(t *testing.T) {
	t.Parallel()
	p := newPlanned(t)
	p.plans(t, 0, firstPlans+"  limits: {projects: 1}\n", "apply", "FILE", "--yes")
	p.decide(t)
	var shown strings.Builder
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"cus_Amelia", "--feature", "export"}}, {1, []string{"cus_Chloe", "--feature", "sso"}},
		{0, []string{"cus_Dora", "--feature", "view"}}, {0, []string{"cus_Amelia", "--limit", "seats"}},
		{0, []string{"cus_Dora", "--limit", "projects"}}, {1, []string{"cus_Dora", "--limit", "seats"}},
	} {
		out, errs := p.run(t, c.code, append([]string{"get"}, c.args...)...)
		if errs != "" {
			t.Errorf("%q: %s", c.args, errs)
		}
		fmt.Fprintf(&shown, "$ entitled get %s\n%s", strings.Join(c.args, " "), out)
		if _, errs := p.run(t, c.code, append([]string{"get", "--json"}, c.args...)...); errs != "" {
			t.Errorf("%q with --json: %s", c.args, errs)
		}
	}
	golden(t, "get-reasons.txt", shown.String())
	out, _ := p.run(t, 0, "get", "cus_Amelia")
	if !strings.Contains(out, "plan pro of sub_Amelia · export sso · projects 50 · seats 3") {
		t.Errorf("get prints\n%s", out)
	}
	p.run(t, 2, "get", "cus_Amelia", "--limit", "seats", "--feature", "sso")
	story, _ := p.run(t, 0, "explain", "cus_Dora")
	if text := strings.Join(strings.Fields(story), " "); !strings.Contains(text,
		"why view: granted by the default of the plans document") {
		t.Errorf("explain prints\n%s", story)
	}
	planned, _ := p.plans(t, 0, "default: {features: [view, sso]}", "explain", "cus_Dora", "--plans", "FILE")
	if !strings.Contains(planned, "+ gained   feature sso") || !strings.Contains(planned, "- lost     limit projects") {
		t.Errorf("explain --plans prints\n%s", planned)
	}
}
