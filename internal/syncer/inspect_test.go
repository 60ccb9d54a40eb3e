package syncer

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/stripeevent"
)

func TestInspector(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := t.Context()
	i, err := inspect.Open(ctx, r.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := stripeevent.ParseTypes("customer.*")
	if err != nil {
		t.Fatal(err)
	}

	// Nothing yet.
	if b, err := i.Lane(ctx, stripeevent.Now); err != nil || b != (inspect.Backlog{}) {
		t.Errorf("lane of an empty stream: %+v, %v", b, err)
	}
	if at, err := i.NewestEvent(ctx); err != nil || !at.IsZero() {
		t.Errorf("newest event of an empty log: %v, %v", at, err)
	}

	// One customer with a marker, one whose marker is lost, a failing and a parked one.
	marked, lost := r.customer(), r.customer()
	before := time.Now().Add(-time.Second)
	r.event(marked)
	r.mark(marked)
	r.event(lost)
	parkedAt := time.Unix(1_700_000_000, 0).UTC()
	for id, f := range map[string]record.Failure{"cus_p": {Failures: 20, ParkedAt: &parkedAt}, "cus_f": {Failures: 1}} {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.State.Put(ctx, stripeevent.ParkedKey(stripeevent.Customer{Mode: entitlement.Test, ID: id}),
			b); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, patience, func() error { // a consumer counts a message some time after its PubAck
		b, err := i.Lane(ctx, stripeevent.Now)
		if err != nil || b.Len() != 1 || b.Waiting != 1 || b.Oldest.Before(before) {
			return fmt.Errorf("lane: %+v, %v", b, err)
		}
		return nil
	})
	if b, err := i.Lane(ctx, stripeevent.Bulk); err != nil || b != (inspect.Backlog{}) {
		t.Errorf("the other lane: %+v, %v", b, err)
	}
	if at, err := i.NewestEvent(ctx); err != nil || at.Before(before) {
		t.Errorf("newest event: %v, %v", at, err)
	}
	if f, err := i.Failing(ctx, time.Now()); err != nil ||
		f != (inspect.Failing{Retried: 1, Parked: 1, OldestParked: parkedAt}) {
		t.Errorf("failing: %+v, %v", f, err)
	}
	natstest.Eventually(t, patience, func() error { // what is younger than a second is left out
		u, err := i.Uncovered(ctx, marks)
		if err != nil || u.Customers != 1 || u.Waiting != 1 || u.Oldest.Before(before) {
			return fmt.Errorf("uncovered: %+v, %v", u, err)
		}
		return nil
	})
	if b, err := i.Lane(ctx, stripeevent.Bulk); err != nil || b.Len() != 0 {
		t.Errorf("inspecting has marked a customer: %+v, %v", b, err)
	}
	if now, err := i.Clock(ctx); err != nil || now.Before(before) || now.After(time.Now().Add(time.Second)) {
		t.Errorf("clock: %v, %v", now, err)
	}
}

// TestJobNames: what the doctor looks for is what a syncer schedules.
func TestJobNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	i, err := inspect.Open(t.Context(), r.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	r.start()
	natstest.Eventually(t, patience, func() error {
		found, err := i.Schedules(t.Context())
		if err != nil {
			return err
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(inspect.JobNames())),
			slices.Sorted(maps.Keys(found))); diff != "" {
			return fmt.Errorf("JobNames and the schedules differ (-names +schedules):\n%s", diff)
		}
		return nil
	})
}

func TestGauges(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	i, err := inspect.Open(t.Context(), r.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	// A consumer counts a message some time after its PubAck.
	mark := func(dirty uint64) {
		r.mark(r.customer())
		natstest.Eventually(t, patience, func() error {
			if b, err := i.Lane(t.Context(), stripeevent.Now); err != nil || b.Len() != dirty {
				return fmt.Errorf("%+v, %v; want %d dirty customers", b, err, dirty)
			}
			return nil
		})
	}
	mark(1)
	now := time.Now()
	g := inspect.NewGauges(slog.New(slog.DiscardHandler))
	g.Now = func() time.Time { return now }
	// A scrape gives NATS two seconds, which a busy machine may not keep; then the next one shows
	// it.
	next := func(want string, names ...string) {
		t.Helper()
		natstest.Eventually(t, patience, func() error {
			now = now.Add(time.Minute)
			return testutil.CollectAndCompare(g, strings.NewReader(want), names...)
		})
	}
	const dirty, up = "entitled_syncer_dirty_customers", "entitled_syncer_backlog_up"

	// Before the syncer has opened its streams the backlog is unknown, and backlog_up says so.
	expectGauge(t, g, `
		# HELP entitled_syncer_backlog_up 1 if the backlog could be read from NATS at this scrape; the gauges of the backlog are absent otherwise.
		# TYPE entitled_syncer_backlog_up gauge
		entitled_syncer_backlog_up 0
	`, up, dirty)

	g.Open(i, budget.New(budget.Config{KV: i.State, Mode: entitlement.Test, Rate: 10}))
	const one = `
		# HELP entitled_syncer_dirty_customers Customers with a pending marker, by lane.
		# TYPE entitled_syncer_dirty_customers gauge
		entitled_syncer_dirty_customers{lane="bulk"} 0
		entitled_syncer_dirty_customers{lane="now"} 1
	`
	next(one, dirty)
	// An answer is good for some seconds, then NATS is asked again.
	mark(2)
	expectGauge(t, g, one, dirty)
	next(strings.Replace(one, `"now"} 1`, `"now"} 2`, 1), dirty)

	// NATS is away: the gauges are absent rather than wrong.
	r.srv.Shutdown()
	next(`
		# HELP entitled_syncer_backlog_up 1 if the backlog could be read from NATS at this scrape; the gauges of the backlog are absent otherwise.
		# TYPE entitled_syncer_backlog_up gauge
		entitled_syncer_backlog_up 0
	`, up, dirty)
}

func expectGauge(t *testing.T, c prometheus.Collector, want string, names ...string) {
	t.Helper()
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestMetricNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s, err := New(Config{NATS: r.conn(t), Stripe: stripeapi.Config{Key: "sk_test_names", Base: r.url},
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	i, err := inspect.Open(t.Context(), r.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	s.gauges.Open(i, budget.New(budget.Config{KV: i.State, Mode: entitlement.Test, Rate: 10}))
	// So that the vectors have something to show.
	s.metrics.synced(protocol.Task{}, record.Record{Trigger: "webhook", Outcome: record.Changed})
	s.metrics.failed(protocol.Retry)
	s.metrics.request(stripeapi.Observation{Endpoint: stripeapi.OpListEvents, Status: 200})
	s.metrics.job("coverage", time.Second)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s.Metrics()...)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Whatever may lead to a sync has a label of its own; what a stranger publishes has none.
func TestTriggerLabels(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../stripeevent/marker.go")
	if err != nil {
		t.Fatal(err)
	}
	triggers := regexp.MustCompile(`(?m)^\tTrigger\w+ += "(\w+)"$`).FindAllStringSubmatch(string(source), -1)
	if len(triggers) < 10 {
		t.Fatalf("only %d triggers were found: this test looks in the wrong place", len(triggers))
	}
	for _, m := range triggers {
		if got := triggerLabel(m[1]); got != m[1] {
			t.Errorf("trigger %s has the label %s", m[1], got)
		}
	}
	if got := triggerLabel("whatever"); got != "other" {
		t.Errorf("an unknown trigger has the label %s, want other", got)
	}
}
