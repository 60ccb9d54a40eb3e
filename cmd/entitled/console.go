package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/tell"
	"entitled/internal/wiring"
	"entitled/internal/wiring/consoled"
)

type consoleCmd struct {
	Settings consoled.Settings   `embed:""`
	Coverage string              `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"Interval of the coverage check, as the syncers have it."`
	Marks    wiring.MarkSettings `embed:""`
	Asked    doctorSettings      `embed:""`
	command.ModeFlag
	command.NATSFlags
}

// Help is shown below the usage.
func (consoleCmd) Help() string {
	return `Serves pages for the operators of the pipeline: how the work stands, live; customers, by key or by
your own id; one customer, with access or not and the reasons first; the log of events; the plans and
their versions; what the doctor finds; and the customers whose syncs fail. The pages say what the
commands say. They can have a customer read again from Stripe, and redrive parked customers; they
change nothing else.

	NATS_USER=ops NATS_PASSWORD=… entitled console --mode live

With --mode it starts while NATS is away, and its pages say so until NATS is back. entitled dev and
entitled serve have the console too.

On another address than loopback it needs a password, and a proxy with TLS in front of it:

	CONSOLE_ADDR=10.0.0.5:8084 CONSOLE_PASSWORD=$(cat password) CONSOLE_HOSTS=console.example.com entitled console`
}

// Run serves until ctx ends.
func (c consoleCmd) Run(ctx context.Context, s *command.Session) error {
	mode, err := c.ReadMode(s)
	if err != nil {
		return err
	}
	check := daemon.Checker{Program: s.Name + " console"}
	checked := c.Settings.Check(&check)
	p := consoled.Pipeline{Mode: mode, Marks: c.Marks.Check(&check), Self: s.Self,
		CoverageEvery: check.Duration("COVERAGE_EVERY", c.Coverage, daemon.Between(time.Second, 24*time.Hour))}
	d := c.Asked.check(&check)
	p.Topology, p.MaxBody, p.Monitor, p.Gateways = d.Topology, d.MaxBody, d.Monitor, d.Gateways
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := c.Connect(s, nil, nats.RetryOnFailedConnect(mode != ""))
	if err != nil {
		return err
	}
	defer nc.Close()
	if p.Mode = mode; mode == "" {
		p.Mode = command.Found(ctx, nc, entitlement.Mode(""))
	}
	ln, err := daemon.Listen("CONSOLE_ADDR", checked.Addr)
	if err != nil {
		return err
	}
	s.Out.Titled("entitled console", "http://"+tell.LocalAddr(ln.Addr())+", "+string(p.Mode)+" mode")
	return checked.Run(ctx, wiring.Host{NATS: nc, Log: s.Log}, p, ln)
}
