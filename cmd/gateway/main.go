// Command gateway answers over HTTP what a Stripe customer is entitled to, for any language and for
// the browser. It follows the snapshots in NATS and answers from memory, also while NATS is away.
//
// It has no state on disk and needs no key of Stripe's API, so run any number of it behind a load
// balancer. Its settings are flags and environment variables, listed by --help. It stops in order on
// SIGINT and SIGTERM.
package main

import (
	"context"
	"os"

	"entitled/internal/daemon"
	"entitled/internal/wiring"
)

func main() { os.Exit(daemon.Main("gateway", run)) }

func run(ctx context.Context, p daemon.Process) error {
	cfg, err := parse(p)
	if err != nil {
		return err
	}
	public, err := daemon.Listen("LISTEN_ADDR", cfg.listen)
	if err != nil {
		return err
	}
	defer public.Close() //nolint:errcheck // gateway.Run closes it, unless something fails before
	p.Log.Info("gateway listener is open", "addr", public.Addr().String())
	return cfg.process.Run(ctx, p, func(ctx context.Context, h wiring.Host) error {
		return cfg.gateway.Run(ctx, h, public)
	})
}
