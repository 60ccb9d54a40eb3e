package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// record stores a record of a customer's sync.
func (m *memory) record(t *testing.T, c stripeevent.Customer, r record.Record) {
	t.Helper()
	body, err := json.Marshal(r)
	if err == nil {
		_, err = m.js.Publish(t.Context(), stripeevent.SyncedSubject(c), body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// explained is the output of `explain --json`.
type explained struct {
	Headline struct {
		Text     string
		Vanished *audit.Gap
	}
	Uncovered, Waiting []uint64
	Now                audit.Present
}

func (m *memory) explain(t *testing.T, code int, customer string) (s explained) {
	t.Helper()
	out, errs := m.run(t, code, "explain", customer, "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	return s
}

// An event whose marker is pending or may be on its way is not covered: it waits, and for a syncer,
// if there is none.
func TestExplainWhatWaits(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	const all = "✓ Every event that marks this customer is covered"
	const none = "✗ No syncer of mode test is running, so nothing reads it."
	// A customer of its own each: an event is young for 5 s only.
	young := func(customer string) {
		m.post(t, "evt_"+customer, customer, "invoice.paid", "")
	}
	young("cus_Dora")
	if out, _ := m.run(t, 0, "explain", "cus_Dora"); strings.Contains(out, all) ||
		!strings.Contains(out, "~ 1 event waits for a sync, and the marker may be on its way.") ||
		!strings.Contains(out, none) {
		t.Errorf("a young event:\n%s", out)
	}
	young("cus_Emil")
	if s := m.explain(t, 0, "cus_Emil"); len(s.Waiting) != 1 || len(s.Uncovered) != 0 || s.Now.Running == nil ||
		*s.Now.Running || !strings.Contains(s.Headline.Text, "No syncer of mode test is running") {
		t.Errorf("a young event: %+v", s)
	}
	m.run(t, 0, "replay", "--customer", "cus_Emil")
	if out, _ := m.run(t, 0, "explain", "cus_Emil"); strings.Contains(out, all) ||
		!strings.Contains(out, "~ A sync is pending, and 1 event waits for it.") || !strings.Contains(out, none) {
		t.Errorf("with a marker:\n%s", out)
	}

	sub, err := m.js.Conn().Subscribe("$SRV.PING.entitled-sync-test",
		func(msg *nats.Msg) { msg.Respond([]byte("{}")) }) //nolint:errcheck // shows below
	if err == nil {
		err = m.js.Conn().Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Unsubscribe() }) //nolint:errcheck // the server ends next
	if out, _ := m.run(t, 0, "explain", "cus_Emil"); strings.Contains(out, "No syncer") {
		t.Errorf("with a syncer:\n%s", out)
	}
	if s := m.explain(t, 0, "cus_Emil"); s.Now.Running == nil || !*s.Now.Running {
		t.Errorf("with a syncer: %+v", s)
	}
	// No question is asked if no customer is parked.
	settled := snapshotOf("cus_Frida", "active", nil, subscribed("sub_1", "active", "pro_monthly"))
	m.put(t, &settled)
	if out, _ := m.run(t, 0, "explain", "cus_Frida"); !strings.Contains(out, all) {
		t.Errorf("nothing waits:\n%s", out)
	}
	if s := m.explain(t, 0, "cus_Frida"); s.Now.Running != nil || s.Waiting == nil {
		t.Errorf("nothing waits: %+v", s)
	}
}

// A snapshot that is gone is a failure, however well all events are covered.
func TestExplainOfASnapshotThatIsGone(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	snapshot := snapshotOf("cus_Gus", "active", nil, subscribed("sub_1", "active", "pro_monthly"))
	read := time.Now().Add(-time.Minute)
	m.record(t, who("cus_Gus"), record.Record{Trigger: "backfill", Outcome: record.Created, Revision: 20,
		StartedAt: read, AsOf: read, Snapshot: &snapshot})
	out, _ := m.run(t, 1, "explain", "cus_Gus")
	for _, want := range []string{
		"✗ cus_Gus  no access: the snapshot is gone", "  snapshot      GONE from the bucket",
		"✗ The snapshot is gone from the bucket: apps see no access. Bring it back with\n  `entitled sync cus_Gus --mode test`; ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "✓ Every event") {
		t.Errorf("reassuring:\n%s", out)
	}
	if s := m.explain(t, 1, "cus_Gus"); s.Headline.Vanished == nil || s.Headline.Vanished.Revision != 20 ||
		s.Headline.Vanished.Until != nil {
		t.Errorf("%+v", s.Headline)
	}
	m.put(t, &snapshot)
	m.run(t, 0, "explain", "cus_Gus")
}

// That neither the bucket nor Stripe knows an id is no difference: it is a slip.
func TestExplainCheckOfNobody(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	sim := stripesim.New(stripesim.Config{Seed: 1, Start: time.Now()})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	env := map[string]string{"NATS_URL": m.at[1], "STRIPE_API_BASE": web.URL, "STRIPE_API_KEY": "sk_test_x"}
	code, out, errs := entitled(t, env, "explain", "cus_Typo", "--check")
	const want = "cus_Typo is unknown in " + string(entitlement.Test) +
		" mode, and Stripe does not know it either\n  hint: check the id, or "
	if code != 1 || out != "" || !strings.Contains(errs, want) {
		t.Errorf("exit code %d, want 1 and %q:\n%s%s", code, want, out, errs)
	}
	// It was forgotten here, and Stripe does not have it: apps see no access, as they should be.
	m.run(t, 0, "forget", "cus_Amelia", "--yes")
	code, out, errs = entitled(t, env, "explain", "cus_Amelia", "--check")
	if code != 0 || !strings.Contains(out, "does not know the customer either") || strings.Contains(out, "differs") {
		t.Errorf("exit code %d of a forgotten customer:\n%s%s", code, out, errs)
	}
}

// That all events are covered is no comfort where what the bucket has is no snapshot.
func TestExplainOfWhatIsNoSnapshot(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	kv, err := m.js.KeyValue(t.Context(), entitlement.Bucket(entitlement.Test))
	if err == nil {
		_, err = kv.Put(t.Context(), "cus_Gus", []byte("garbage"))
	}
	if err != nil {
		t.Fatal(err)
	}
	out, _ := m.run(t, 1, "explain", "cus_Gus")
	for _, want := range []string{"✗ cus_Gus  the snapshot cannot be read",
		"✗ The entry in the bucket is no snapshot", "`entitled sync cus_Gus --mode test`"} {
		if !strings.Contains(strings.ReplaceAll(out, "\n  ", " "), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "✓ Every event") {
		t.Errorf("all is well, says\n%s", out)
	}
}
