package syncer

import (
	"context"
	"log/slog"
	"testing"

	"entitled/internal/daemon"
)

// launch runs a syncer and returns its readiness.
func (r *rig) launch(configure ...func(*Config)) (ready *daemon.Readiness, stop func()) {
	r.t.Helper()
	before := r.cfg
	defer func() { r.cfg = before }()
	ready = daemon.NewReadiness(slog.New(slog.DiscardHandler))
	r.cfg = func(c *Config) {
		for _, configure := range configure {
			configure(c)
		}
		c.Ready = ready.Set
	}
	return ready, r.start()
}

func works(t *testing.T, ready *daemon.Readiness) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := ready.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}
