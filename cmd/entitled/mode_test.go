package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// If only live has a bucket, a command without --mode is about live: about test, all would seem well.
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
		{"parked --redrive-all", 0, "parked --mode live` lists those that stay parked"},
		{"parked --redrive cus_Boris", 0, "1 customer will be tried again"},
		{"parked --mode test", 0, "✓ no customer is parked in test mode"},
		{"events", 0, "1 event · live mode"},
		{"replay --customer cus_Boris", 0, "1 customer in 1 event · live mode"},
		{"explain cus_Boris", 0, "no snapshot  live mode"},
		{"explain cus_Boris --mode test", 1, "read it with `entitled sync cus_Boris --mode test`"},
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
	code, _, errs := entitled(t, map[string]string{"NATS_USER": "ops", "NATS_PASSWORD": "topsecret"}, "parked",
		"--nats-url", srv.URL())
	if code != 1 || !strings.Contains(errs, "hint: NATS refuses this user") || strings.Contains(errs, "topsecret") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// A slice that has an end ends there, also when nothing comes behind it that would show that it is over. A slow reader, as a pager is, sees all
// of it, though the time to wait for more has passed before.
func TestFollowEnds(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	const events = 40
	for i := range events {
		m.postOf(t, who("cus_Slow"), fmt.Sprintf("evt_slow%d", i), "invoice.paid", "")
	}
	until := time.Now().Add(100 * time.Millisecond)
	p, out, errs := process(nil, append([]string{"events", "-f", "--customer", "cus_Slow", "--until",
		until.UTC().Format(time.RFC3339Nano)}, m.at...)...)
	p.Stdout = &slowReader{Writer: p.Stdout, from: until.Add(untilSlack + 500*time.Millisecond)}
	ctx, cancel := context.WithTimeout(t.Context(), patience) // an interruption is exit status 0 too
	defer cancel()
	if code := run(ctx, p); code != 0 || ctx.Err() != nil || strings.Count(out.String(), "evt_slow") != events {
		t.Errorf("exit code %d, want all %d events and an end by itself (%v):\n%s%s", code, events,
			ctx.Err(), out, errs)
	}
}

// A slowReader takes nothing before an instant.
type slowReader struct {
	io.Writer
	from time.Time
}

func (s *slowReader) Write(b []byte) (int, error) {
	<-time.After(time.Until(s.from))
	return s.Writer.Write(b)
}
