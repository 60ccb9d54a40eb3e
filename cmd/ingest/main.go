// Command ingest receives Stripe's webhooks, verifies them and stores them in NATS JetStream. It
// answers 2xx only after a webhook is stored. While NATS is unreachable it answers 503, and Stripe
// retries.
//
// It has no state and needs no key of Stripe's API, so run any number of it behind a load balancer.
// Its settings are flags and environment variables, listed by --help. It stops in order on SIGINT
// and SIGTERM.
package main

import (
	"context"
	"os"

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
	defer public.Close() //nolint:errcheck // ingest.Run closes it, unless something fails before
	p.Log.Info("webhook listener is open", "addr", public.Addr().String(), "path", ingest.Path)
	return cfg.process.Run(ctx, p, func(ctx context.Context,
		h wiring.Host) error {
		return cfg.ingest.Run(ctx, h, public)
	})
}
