package dev

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"entitled/internal/daemon"
	"entitled/internal/wiring"
	"entitled/internal/wiring/consoled"
	"entitled/internal/wiring/gatewayd"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

// A pipeline is the daemons in this process, as they are in their own, on an embedded nats-server.
type pipeline struct {
	nats    *server.Server
	public  net.Listener // where webhooks are taken
	asked   net.Listener // where the gateway is
	shown   net.Listener // where the console is
	self    string
	admin   net.Listener // where /healthz, /readyz and /metrics are
	ingest  ingestd.Ingest
	syncer  syncerd.Syncer
	gateway gatewayd.Gateway
	console consoled.Console
	tracing daemon.Tracing
	log     *slog.Logger
	ready   *daemon.Readiness
	running chan error // receives what run returned
}

// newReadiness is one readiness for all daemons.
func newReadiness(log *slog.Logger) *daemon.Readiness {
	return daemon.NewReadiness(log, "ingest "+wiring.ReadyTopology, "syncer "+wiring.ReadyTopology,
		"gateway "+wiring.ReadyTopology)
}

// start runs the daemons until ctx ends; then running receives.
func (p *pipeline) start(ctx context.Context) error {
	p.running = make(chan error, 1)
	traces, err := p.tracing.Open(ctx, p.log)
	if err != nil {
		return err
	}
	svc := daemon.Service{
		Name:    "entitled dev",
		NATS:    daemon.NATS{URL: p.nats.ClientURL()},
		Admin:   p.admin,
		Ready:   p.ready,
		Metrics: daemon.NewRegistry(),
		Traces:  traces,
		Log:     p.log,
		Options: []nats.Option{nats.InProcessServer(p.nats)},
	}
	go func() { // the caller of start receives from running
		p.running <- svc.Run(ctx, func(ctx context.Context, nc *nats.Conn) error {
			host := wiring.Host{NATS: nc, Ready: p.ready.Set, Metrics: svc.Metrics, Traces: traces.Provider(), Log: p.log}.Named
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return named("ingest", p.ingest.Run(ctx, host("ingest"), p.public)) })
			g.Go(func() error { return named("syncer", p.syncer.Run(ctx, host("syncer"))) })
			g.Go(func() error { return named("gateway", p.gateway.Run(ctx, host("gateway"), p.asked)) })
			g.Go(func() error {
				return named("console", p.console.Run(ctx, host("console"), consoled.Pipeline{Mode: p.syncer.Mode,
					Marks: p.syncer.Shared.Marks, CoverageEvery: p.syncer.CoverageEvery, Self: p.self,
					Topology: p.syncer.Shared.Topology, MaxBody: p.ingest.MaxBody()}, p.shown))
			})
			return g.Wait()
		})
	}()
	return nil
}

func named(daemon string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", daemon, err)
}

// connect makes a connection of dev's own to the embedded server.
func (p *pipeline) connect() (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.Name("entitled dev: watch"), nats.InProcessServer(p.nats))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded nats-server: %w", err)
	}
	return nc, nil
}
