package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// Where only live is, a command that is not told the mode is about live: about test, all would seem well.
func TestModeIsFound(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	m := &memory{js: srv.JetStream(t), at: []string{"--nats-url", srv.URL()}}
	if err := topology.Ensure(t.Context(), m.js, topology.Syncer(topology.Options{}, entitlement.Live)); err != nil {
		t.Fatal(err)
	}
	parked := who("cus_Boris")
	parked.Mode = entitlement.Live
	m.park(t, parked)
	m.postOf(t, parked, "evt_1", "invoice.paid", "")
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"parked", 0, "✗ cus_Boris  parked"},
		{"parked --redrive-all", 0, "parked --mode live` shows who stays"},
		{"parked --redrive cus_Boris", 0, "1 customer to be tried again"},
		{"parked --mode test", 0, "✓ nobody is parked in test mode"},
		{"events", 0, "1 event · live mode"},
		{"replay --customer cus_Boris", 0, "1 customer in 1 event · live mode"},
		{"explain cus_Boris", 0, "no snapshot  live mode"},
		{"get cus_Boris", 1, "no snapshot of cus_Boris in entitlements_live\n  hint: read it from Stripe with `entitled sync cus_Boris --mode live`"},
		{"sync cus_Boris", 1, "no syncer of mode live is running"},
		{"watch --for 1ms", 0, "watching 0 customers of mode live"},
		{"forget --yes --mode test cus_Boris", 1, "nothing is kept of cus_Boris in test mode"},
		{"forget --yes cus_Boris", 0, "✓ forgot cus_Boris in live mode: 1 event"},
	} {
		args := strings.Fields(tc.args)
		out, errs := m.run(t, tc.code, args...)
		if !strings.Contains(out+errs, tc.want) {
			t.Errorf("%s: no %q in\n%s%s", tc.args, tc.want, out, errs)
		}
	}
}

// A refusal is not an absence.
func TestNATSRefusesTheUser(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, func(o *server.Options) { o.Username, o.Password = "ops", "right" })
	code, _, errs := entitled(t, map[string]string{"NATS_USER": "ops", "NATS_PASSWORD": "topsecret"}, "parked", "--nats-url", srv.URL())
	if code != 1 || !strings.Contains(errs, "hint: NATS is there and refuses this user") || strings.Contains(errs, "topsecret") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// A slice that has an end ends there, also when nothing comes behind it that would show that it is over.
func TestFollowEnds(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	if out, errs := m.run(t, 0, "events", "-f", "--until", "1s"); !strings.Contains(errs, "4 events") && !strings.Contains(errs, "0 events") {
		t.Errorf("%s%s", out, errs)
	}
}
