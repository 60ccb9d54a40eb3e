package wiring

import (
	"context"

	"github.com/nats-io/nats.go"

	"entitled/internal/daemon"
)

// A Process is the settings of a program that runs one daemon.
type Process struct {
	NATS    daemon.NATS
	Admin   string // address of /healthz, /readyz and /metrics
	Tracing daemon.Tracing
	// WithoutNATS says that the daemon works while NATS is away.
	WithoutNATS bool
}

// Run connects to NATS, serves the admin listener, and runs the daemon until ctx ends.
func (c Process) Run(ctx context.Context, p daemon.Process, run func(context.Context, Host) error) error {
	traces, err := c.Tracing.Open(ctx, p.Log)
	if err != nil {
		return err
	}
	ready := daemon.NewReadiness(p.Log, ReadyTopology)
	if c.WithoutNATS {
		ready.WithoutNATS()
	}
	svc := daemon.Service{
		Name:      p.Name,
		NATS:      c.NATS,
		AdminAddr: c.Admin,
		Ready:     ready,
		Metrics:   daemon.NewRegistry(),
		Traces:    traces,
		Log:       p.Log,
	}
	return svc.Run(ctx, func(ctx context.Context, nc *nats.Conn) error {
		return run(ctx, Host{NATS: nc, Ready: svc.Ready.Set, Metrics: svc.Metrics, Traces: traces.Provider(),
			Log: svc.Log})
	})
}
