package main

import (
	"testing"

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
