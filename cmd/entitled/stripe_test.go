package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// The hint after a failed reading of Stripe depends on Stripe's answer: running the command again
// does not help where a permission is missing.
func TestReadingOfStripeFails(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	if err := topology.Ensure(t.Context(), srv.JetStream(t), topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"recover", "sweep", "backfill"} {
		refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"error":{"type":"invalid_request_error","message":"no"}}`) //nolint:errcheck // the test fails then
		}))
		t.Cleanup(refuses.Close)
		env := map[string]string{"NATS_URL": srv.URL(), "STRIPE_API_BASE": refuses.URL,
			"STRIPE_API_KEY": "sk_test_x", "STRIPE_RATE": "200"}
		code, _, errs := entitled(t, env, command)
		if code != 1 || !strings.Contains(errs, "403") ||
			!strings.Contains(errs, "hint: Stripe refused: check the key's permissions") {
			t.Errorf("%s: exit code %d: %s", command, code, errs)
		}
	}
}

// The message of an interruption says so, and how far the command came.
func TestReadingOfStripeIsInterrupted(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	if err := topology.Ensure(t.Context(), srv.JetStream(t),
		topology.Syncer(topology.Options{}, entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	sim := stripesim.New(stripesim.Config{Seed: 1})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	held := sim.Hold(func(q *stripesim.Request) bool { return strings.HasSuffix(q.Path, "/subscriptions") })
	ctx, interrupt := context.WithCancel(t.Context())
	go func() { // ends with the request, which the command makes
		if _, err := held.Wait(t.Context()); err == nil {
			interrupt()
		}
	}()
	p, _, errs := process(map[string]string{"NATS_URL": srv.URL(), "STRIPE_API_BASE": web.URL,
		"STRIPE_API_KEY": "sk_test_x", "STRIPE_RATE": "200"}, "backfill")
	if code := run(ctx, p); code != 1 || errs.String() != "entitled backfill: interrupted after 0 pages of 0 subscriptions\n  hint: start it again: it continues there; --restart starts over\n" {
		t.Errorf("exit code %d: %s", code, errs)
	}
	held.Release()
}

// More replicas than servers are refused with what they are for.
func TestMoreReplicasThanServers(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	out, errs := m.run(t, 1, "topology", "apply", "--replicas", "3")
	if strings.Contains(out, "nothing to do") || !strings.Contains(errs, "hint: REPLICAS must not exceed") {
		t.Errorf("%s%s", out, errs)
	}
}
