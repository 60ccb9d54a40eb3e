package main

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
)

func TestTopology(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	at := []string{"--nats-url", srv.URL()}
	step := func(name string, code int, args ...string) {
		t.Helper()
		got, out, errs := entitled(t, nil, append(append([]string{"topology"}, args...), at...)...)
		if got != code {
			t.Errorf("%s: exit code %d, want %d", name, got, code)
		}
		golden(t, "topology-"+name+".txt", out+errs)
	}
	step("empty", 1)
	js := srv.JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "STRIPE_EVENTS", Subjects: []string{"stripe.event.>"}, MaxAge: time.Hour,
		Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	step("drift", 1, "--mode=test")
	step("drift-json", 1, "--mode=test", "--json")
	step("apply-cannot", 1, "apply", "--mode=test")
	if err := js.DeleteStream(t.Context(), "STRIPE_EVENTS"); err != nil {
		t.Fatal(err)
	}
	// Data that refers to the log exists, so the log may be in a backup.
	step("lost", 1, "--mode=test")
	step("apply-lost", 1, "apply", "--mode=test")
	step("apply", 0, "apply", "--mode=test", "--accept-loss")
	step("apply-again", 0, "apply", "--json")
	// One mode is in use: the other is not missed.
	step("applied", 0)
	step("longer", 1, "--events-max-age=180d")
	step("apply-longer", 0, "apply", "--events-max-age=180d")
	step("longer-applied", 0, "--events-max-age=180d")
	// Without the setting nothing is deleted.
	step("forgotten", 1)
	step("apply-forgotten", 1, "apply")
	step("apply-shorter", 0, "apply", "--events-max-age=30d")
}
