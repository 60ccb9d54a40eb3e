package main

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

var took = regexp.MustCompile(`in (<1 ms|[0-9.]+ ?m?s\b)`)

// A whole account is brought in, drifts, is compared, and loses a webhook.
func TestBackfillSweepRecover(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	sim := stripesim.New(stripesim.Config{Seed: 1, Start: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"NATS_URL": srv.URL(), "STRIPE_API_BASE": web.URL, "STRIPE_API_KEY": "sk_test_x", "STRIPE_RATE": "200",
	}
	if err := topology.Ensure(t.Context(), srv.JetStream(t),
		topology.Syncer(topology.Options{}, entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	withoutEntitlements(t, srv.JetStream(t))
	var subs []string
	now := sim.Now().Unix()
	if err := sim.Load(func(l *stripesim.Loader) error {
		for i := range 250 {
			at := now - int64(i)*86400
			c, err := l.Customer(stripesim.CustomerParams{Created: at})
			if err != nil {
				return err
			}
			id, err := l.Subscription(stripesim.SubscriptionParams{
				Customer: c, Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}}, Created: at,
				CurrentPeriodEnd: now + 1e6,
			})
			if err != nil {
				return err
			}
			subs = append(subs, id)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	step := func(name string, args ...string) {
		t.Helper()
		code, out, errs := entitled(t, env, args...)
		if code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		golden(t, name+".txt", took.ReplaceAllString(out+errs, "in 1 s"))
	}
	refused := func(name string, env map[string]string, args ...string) {
		t.Helper()
		code, out, errs := entitled(t, env, args...)
		if code != 1 || out != "" {
			t.Errorf("%s: exit code %d, output %q", name, code, out)
		}
		golden(t, name+".txt", errs)
	}
	live := maps.Clone(env)
	live["STRIPE_API_KEY"] = "sk_live_x"
	refused("error-mode-not-in-use", live, "sweep")
	step("backfill", "backfill")
	step("sweep", "sweep")
	for _, id := range subs[:3] {
		if err := sim.Silent().UpdateSubscription(id, map[string]string{"seats": "5"}); err != nil {
			t.Fatal(err)
		}
	}
	step("sweep-drift", "sweep")

	deliverAll(t, srv.JetStream(t), sim)
	step("recover-first", "recover")
	if err := sim.UpdateSubscription(subs[9], map[string]string{"seats": "7"}); err != nil {
		t.Fatal(err)
	}
	step("recover", "recover")
	// The command says that Stripe no longer lists older events.
	if code, out, errs := entitled(t, env, "recover", "--since", "30d"); code != 0 || errs != "" {
		t.Errorf("recover of 30 days: exit code %d, %s%s", code, out, errs)
	}
	const gap = "Stripe lists the events of the last 30 days only, and older ones were not compared\n  hint: run `entitled backfill`"
	if code, out, errs := entitled(t, env, "recover", "--since", "40d"); code != 1 ||
		!strings.Contains(out, "events compared since") || !strings.Contains(errs, gap) {
		t.Errorf("recover of 40 days: exit code %d, %s%s", code, out, errs)
	}
	if code, out, errs := entitled(t, env, "recover", "--since", "40d", "--json"); code != 1 ||
		!strings.Contains(out, `"gap":true`) || !strings.Contains(errs, gap) {
		t.Errorf("recover of 40 days in JSON: exit code %d, %s%s", code, out, errs)
	}

	if code, out, errs := entitled(t, env, "sweep", "--json"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("sweep --json: exit code %d, %s%s", code, out, errs)
	}
	env["STRIPE_API_KEY"] = ""
	if code, out, errs := entitled(t, env, "backfill"); code != 2 || out != "" {
		t.Errorf("backfill without a key: exit code %d, %s%s", code, out, errs)
	}
}

// deliverAll logs what the simulator has sent so far, as ingest would.
func deliverAll(t *testing.T, js jetstream.JetStream, sim *stripesim.Sim) {
	t.Helper()
	for _, e := range sim.Events() {
		body, err := json.Marshal(map[string]any{"id": e.ID, "type": e.Type, "created": e.Created.Unix(),
			"livemode": false, "data": e.Data})
		if err != nil {
			t.Fatal(err)
		}
		env, err := stripeevent.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{
			Subject: stripeevent.EventSubject(env.Owner(), env.Type),
			Header:  nats.Header{jetstream.MsgIDHeader: {stripeevent.MsgID("", env.ID)}},
			Data:    body,
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// A customer is forgotten after a running backfill has read it. The backfill ends with an error that
// names the next step.
func TestBackfillBesideForget(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	withoutEntitlements(t, m.js)
	sim := stripesim.New(stripesim.Config{Seed: 1, Start: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	var newest string
	if err := sim.Load(func(l *stripesim.Loader) error {
		for i := range 150 {
			at := sim.Now().Unix() - int64(i)*86400
			c, err := l.Customer(stripesim.CustomerParams{Created: at})
			if err != nil {
				return err
			}
			if i == 0 {
				newest = c
			}
			_, err = l.Subscription(stripesim.SubscriptionParams{Customer: c,
				Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}}, Created: at, CurrentPeriodEnd: at + 1e7})
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	requests := 0
	held := sim.Hold(func(*stripesim.Request) bool {
		requests++
		return requests == 2
	})
	ended := make(chan string, 1)
	go func() { // ended receives
		env := map[string]string{"STRIPE_API_BASE": web.URL, "STRIPE_API_KEY": "sk_test_x", "STRIPE_RATE": "200"}
		code, out, errs := entitled(t, env, append([]string{"backfill"}, m.at...)...)
		if code != 1 || out != "" {
			t.Errorf("backfill: exit code %d, output %q", code, out)
		}
		ended <- errs
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The writes of the first page must end before the customer is forgotten.
	natstest.Eventually(t, 5*time.Minute, func() error {
		synced, err := m.js.Stream(t.Context(), topology.SyncedStream)
		if err != nil {
			return err
		}
		_, err = synced.GetLastMsgForSubject(t.Context(),
			stripeevent.SyncedSubject(stripeevent.Customer{Mode: entitlement.Test, ID: newest}))
		return err
	})
	m.run(t, 0, "forget", newest, "--yes")
	held.Release()
	golden(t, "error-backfill-forgotten.txt", <-ended)
}
