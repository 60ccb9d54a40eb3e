// Command ingest takes Stripe's webhooks, verifies them and stores them in NATS JetStream. A webhook is answered with 2xx once it is
// stored, never before; while NATS is away it is answered with 503, and Stripe sends it again.
//
// It keeps no state and needs no key for Stripe's API: run as many as you like behind a load balancer. Its settings are flags and
// environment variables, listed by --help. It stops in order on SIGINT and SIGTERM.
package main

import (
	"context"
	"os"

	"github.com/nats-io/nats.go"

	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/wiring"
)

func main() { os.Exit(daemon.Main("ingest", run)) }

func run(ctx context.Context, p daemon.Process) error {
	cfg, err := parse(p)
	if err != nil {
		return err
	}
	public, err := daemon.Listen("LISTEN_ADDR", cfg.listen)
	if err != nil {
		return err
	}
	defer public.Close() //nolint:errcheck // closed by ingest.Run, unless something failed before
	p.Log.Info("webhook listener is open", "addr", public.Addr().String(), "path", ingest.Path)

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
		return cfg.ingest.Run(ctx, wiring.Host{NATS: nc, Ready: svc.Ready.Set, Metrics: svc.Metrics, Traces: traces.Provider(), Log: svc.Log}, public)
	})
}
