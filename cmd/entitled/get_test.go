package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
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

// An entry that somebody wrote by hand has no times, and none is made up.
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
	for n := range fewEnough + 1 {
		s := snapshotOf(fmt.Sprintf("cus_%d", n), "active", nil)
		m.put(t, &s)
	}
	out, _ := m.run(t, 0, "watch", "--for=50ms")
	if strings.Contains(out, "cus_") || !strings.Contains(strings.ReplaceAll(out, "\n", " "), "the state now of more than 20 is left out") {
		t.Errorf("\n%s", out)
	}
}
