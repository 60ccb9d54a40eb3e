// Command syncer keeps one snapshot per Stripe customer in a NATS KV bucket: it takes markers,
// reads each customer's whole state from Stripe's API and writes it as the next revision.
//
// It has no state of its own, so run any number of it: they share the work and one budget of
// requests to Stripe. A syncer serves the mode, live or test, of its key. Its settings are flags
// and environment variables, listed by --help. On SIGINT and SIGTERM it takes no more work,
// finishes the syncs in progress, and leaves the remaining markers to the others.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"entitled/internal/daemon"
)

func main() {
	// A syncer keeps little: most of its heap is garbage between two collections.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	os.Exit(daemon.Main("syncer", run))
}

func run(ctx context.Context, p daemon.Process) error {
	cfg, err := parse(p)
	if err != nil {
		return err
	}
	return cfg.process.Run(ctx, p, cfg.syncer.Run)
}
