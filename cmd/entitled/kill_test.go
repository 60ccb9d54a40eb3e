package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon/daemontest"
	"entitled/internal/natsproc"
	"entitled/internal/natstest"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// asItself has this test's program be the tool.
const asItself = "ENTITLED_TEST_AS_ITSELF"

func TestMain(m *testing.M) {
	natsproc.Main()
	if os.Getenv(asItself) != "" || daemontest.IsProgram() {
		main()
		return
	}
	natstest.Main(m)
}

// A backfill is killed, with a signal that it cannot see, again and again, and each time goes on
// where it was: no page is asked for twice but those that were on their way, and in the end every
// customer is there, once.
func TestBackfillKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the processes that it starts and kills are tested with the race detector in internal/syncer")
	}
	const subscriptions = 1500
	srv := natstest.Run(t)
	sim := stripesim.New(stripesim.Config{Seed: 1})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	js := srv.JetStream(t)
	if err := topology.Ensure(t.Context(), js, topology.Syncer(topology.Options{}, entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	withoutEntitlements(t, js)
	now := sim.Now().Unix()
	if err := sim.Load(func(l *stripesim.Loader) error {
		for i := range subscriptions {
			at := now - int64(i)*43200
			c, err := l.Customer(stripesim.CustomerParams{Created: at})
			if err != nil {
				return err
			}
			if _, err := l.Subscription(stripesim.SubscriptionParams{
				Customer: c, Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}}, Created: at,
				CurrentPeriodEnd: now + 1e6,
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"NATS_URL": srv.URL(), "STRIPE_API_BASE": web.URL, "STRIPE_API_KEY": "sk_test_x",
		"STRIPE_RATE": "200"}
	var said bytes.Buffer
	backfill := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "backfill", "--json")
		cmd.Env = []string{asItself + "=yes"}
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		return cmd, &out
	}
	for _, nth := range []int{1, 3, 6, 4} {
		seen := 0
		held := sim.Hold(func(q *stripesim.Request) bool {
			if strings.HasSuffix(q.Path, "/subscriptions") {
				seen++
			}
			return seen == nth
		})
		cmd, _ := backfill()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := held.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		held.Release()
	}
	cmd, out := backfill()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var r sweep.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%s: %v\n%s", out, err, said.String())
	}
	if !strings.Contains(said.String(), "continuing the run of") || r.Began.IsZero() {
		t.Errorf("a backfill that goes on does not say so: %q, %+v", said.String(), r)
	}
	if r.Resumed < 6 || r.Customers != subscriptions {
		t.Errorf("report %+v, want a good part resumed and all customers there", r)
	}
	// Up to eight were on their way at each kill.
	if n := sim.Stats().ByEndpoint["GET /v1/subscriptions"]; n > r.Pages+4*8 {
		t.Errorf("%d pages were asked for, the account has %d", n, r.Pages)
	}
	synced, err := js.Stream(t.Context(), topology.SyncedStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := synced.Info(t.Context(), jetstream.WithSubjectFilter("stripe.synced.>"))
	if err != nil || len(info.State.Subjects) != subscriptions {
		t.Errorf("%d customers have records, %v; want %d", len(info.State.Subjects), err, subscriptions)
	}
	code, again, errs := entitled(t, env, "sweep", "--json")
	var after sweep.Report
	if err := json.Unmarshal([]byte(again), &after); err != nil || code != 0 {
		t.Fatalf("sweep: exit code %d, %s%s: %v", code, again, errs, err)
	}
	if after.Unchanged != subscriptions {
		t.Errorf("sweep %+v, want all %d as Stripe has them", after, subscriptions)
	}
}
