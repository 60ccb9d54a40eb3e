// Command syncer keeps one snapshot per Stripe customer in a NATS KV bucket: it takes the markers of dirty customers, reads each
// customer's whole state from Stripe's API and writes it as the next revision.
//
// It keeps no state: run as many as you like, they share the work and one budget of requests to Stripe. One syncer serves one mode,
// live or test, that of its key. Its settings are flags and environment variables, listed by --help. It stops in order on SIGINT
// and SIGTERM: it takes no more work, finishes what it holds, and leaves the rest to the others.
package main

import (
	"context"
	"os"

	"github.com/nats-io/nats.go"

	"entitled/internal/daemon"
	"entitled/internal/wiring"
)

func main() { os.Exit(daemon.Main("syncer", run)) }

func run(ctx context.Context, p daemon.Process) error {
	cfg, err := parse(p)
	if err != nil {
		return err
	}
	traces, err := cfg.tracing.Open(ctx, p.Log)
	if err != nil {
		return err
	}
	svc := daemon.Service{
		Name:      p.Name,
		NATS:      cfg.nats,
		AdminAddr: cfg.admin,
		Ready:     daemon.NewReadiness(p.Log, wiring.ReadyTopology),
		Metrics:   daemon.NewRegistry(),
		Traces:    traces,
		Log:       p.Log,
	}
	return svc.Run(ctx, func(ctx context.Context, nc *nats.Conn) error {
		return cfg.syncer.Run(ctx, wiring.Host{NATS: nc, Ready: svc.Ready.Set, Metrics: svc.Metrics, Traces: traces.Provider(), Log: svc.Log})
	})
}
