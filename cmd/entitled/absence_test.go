package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// A watch while NATS is away says so, and continues when NATS is back.
func TestWatchTellsOfAbsence(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	m := &memory{js: srv.JetStream(t), at: []string{"--nats-url", srv.URL()}}
	if err := topology.Ensure(t.Context(), m.js, topology.Syncer(topology.Options{}, entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"watch"}, {"events", "-f"}} {
		if args[0] == "events" {
			if err := topology.Ensure(t.Context(), m.js, topology.All(topology.Options{})); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		p, out, errs := process(nil, append(args, m.at...)...)
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, p) }() // received below
		says := func(s *screen, text string) {
			t.Helper()
			natstest.Eventually(t, patience, func() error {
				if !strings.Contains(s.String(), text) {
					return errors.New("not said: " + text + "\n" + out.String() + errs.String())
				}
				return nil
			})
		}
		if args[0] == "watch" {
			says(out, "watching 0 customers")
		} else {
			m.post(t, "evt_1", "cus_Amelia", "invoice.paid", "")
			says(out, "evt_1")
		}
		srv.Restart()
		says(errs, "NATS is away")
		says(errs, "NATS is back")
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
}
