package main

import (
	"fmt"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Foreign messages and entries are skipped or named. They hide nothing else.
func TestForeign(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	if _, err := m.js.Publish(t.Context(), "stripe.event.test.self.=ZZ.customer.updated", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	kv, err := m.js.KeyValue(t.Context(), topology.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), stripeevent.ParkedKey(who("cus_Amelia")), `{"failures":"x"}`); err != nil {
		t.Fatal(err)
	}
	const note = "1 message in the log skipped: no event has such a subject. Check which other\nusers may publish to stripe.event.>.\n"
	for _, args := range [][]string{{"events"}, {"events", "--verify"}, {"events", "--json"}, {"replay", "--dry-run"}} {
		out, errs := m.run(t, 0, args...)
		if !strings.Contains(out, "4 events") && strings.Count(out, "\n") != 4 || errs != note {
			t.Errorf("%s:\n%s%s", args, out, errs)
		}
	}
	if _, errs := m.run(t, 0, "events", "--customer", "cus_Amelia"); errs != "" {
		t.Errorf("events of one customer: %s", errs)
	}
	if out, _ := m.run(t, 0, "parked"); !strings.Contains(out, "cus_Boris") || strings.Contains(out, "cus_Amelia") {
		t.Errorf("parked:\n%s", out)
	}
	out, _ := m.run(t, 0, "parked", "--all")
	golden(t, "parked-foreign.txt", still(out))
	if out, _ := m.run(t, 0, "parked", "--all", "--json"); !strings.Contains(out, `"unreadable":true`) {
		t.Errorf("parked --all --json:\n%s", out)
	}
	m.run(t, 0, "parked", "--redrive-all")
	if got := m.markers(t); got != "cus_Boris" {
		t.Errorf("a redrive of all marks %s", got)
	}
	m.run(t, 0, "parked", "--redrive", "cus_Amelia")
	if got := m.markersIn(t, stripeevent.Now); got != "cus_Amelia" {
		t.Errorf("a redrive of one whose entry cannot be read marks %s", got)
	}
	if out, _ := m.run(t, 0, "explain", "cus_Amelia"); !strings.Contains(out, "parked        no\n") {
		t.Errorf("explain:\n%s", out)
	}
}

// explain says which data it cannot read, with advice that helps.
func TestExplainUnreadable(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	for _, c := range []string{"cus_Amelia", "cus_Chloe"} {
		m.mark(t, c)
		if _, err := m.js.Publish(t.Context(), stripeevent.SyncedSubject(who(c)), []byte(`{"outcome":5}`)); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := m.run(t, 0, "explain", "cus_Amelia")
	if !strings.Contains(out, " ? record 1 cannot be read: it covers nothing\n") ||
		!strings.Contains(out, "? 1 record in STRIPE_SYNCED cannot be read, so no event counts as covered by it.") || strings.Contains(out, "✓ Every event") {
		t.Errorf("an unreadable record:\n%s", out)
	}
	if out, _ := m.run(t, 0, "explain", "cus_Amelia", "--at", "0s"); !strings.Contains(out,
		"unsure        record 1, of a later sync, cannot be read") {
		t.Errorf("at an instant behind an unreadable record:\n%s", out)
	}
	kv, err := m.js.KeyValue(t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		fmt.Sprintf(`{"schema":%d,"customer":"cus_Chloe"}`,
			entitlement.Schema+1): "✗ A later version wrote the snapshot: use that version of this command. Older\n  syncers do not change it: upgrade them.\n",
		"rubbish": "✗ The entry in the bucket is no snapshot: `entitled sync cus_Chloe --mode test`\n  replaces it.\n",
	} {
		if _, err := kv.PutString(t.Context(), "cus_Chloe", value); err != nil {
			t.Fatal(err)
		}
		if out, _ := m.run(t, 1, "explain", "cus_Chloe"); !strings.Contains(out, want) ||
			strings.Contains(out, "replaces it") != strings.Contains(want, "replaces it") {
			t.Errorf("%s in the bucket:\n%s", value, out)
		}
	}
}
