package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/doctor"
	"entitled/internal/stripeapi"
	"entitled/internal/tell"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

type doctorCmd struct {
	JSON     bool                `name:"json" help:"Print JSON."`
	Mode     string              `placeholder:"MODE" help:"Check one mode only: test or live. Default: that of STRIPE_API_KEY, or the modes that have a bucket."`
	Asked    doctorSettings      `embed:""`
	Coverage string              `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"As the syncers have it." group:"daemons"`
	Base     string              `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is." group:"daemons"`
	Replaced syncerd.Replaced    `embed:""`
	Marks    wiring.MarkSettings `embed:"" group:"daemons"`
	command.NATSFlags
}

// doctorSettings are the settings of the doctor's checks, here and in the console.
type doctorSettings struct {
	Monitor  string                  `name:"nats-monitor" env:"NATS_MONITOR" placeholder:"URL" help:"Monitoring port of the NATS server, for servers that do not answer over the connection; none if others operate the servers. Default: port 8222 of the server connected to."`
	Gateways string                  `name:"gateway-admin" env:"GATEWAY_ADMIN" placeholder:"URL,…" help:"Admin addresses of the gateways, separated by commas, to check them too: http://127.0.0.1:8083."`
	MaxBody  string                  `name:"max-body-bytes" env:"MAX_BODY_BYTES" default:"1 MiB" help:"As ingest has it." group:"daemons"`
	Topology wiring.TopologySettings `embed:"" group:"daemons"`
}

// check turns the settings into values.
func (d doctorSettings) check(c *daemon.Checker) doctor.Config {
	cfg := doctor.Config{
		Topology: d.Topology.Check(c), MaxBody: c.Bytes("MAX_BODY_BYTES", d.MaxBody, daemon.Between[int64](1<<10, 32<<20)),
		Monitor: d.Monitor,
	}
	if d.Monitor != "" && d.Monitor != doctor.NoMonitor {
		c.URL("NATS_MONITOR", d.Monitor, "http", "https")
	}
	for _, admin := range strings.FieldsFunc(d.Gateways, func(c rune) bool { return c == ',' || c == ' ' }) {
		c.URL("GATEWAY_ADMIN", admin, "http", "https")
		cfg.Gateways = append(cfg.Gateways, admin)
	}
	return cfg
}

// Help is shown below the usage.
func (doctorCmd) Help() string {
	return `Checks everything that keeps snapshots right, writes nothing, and names the next step for
each line that is not ok. With STRIPE_API_KEY set it also tries the requests that a syncer makes:
three, and two for Stripe's active entitlements unless the plans document has no use for them. Exits
with 1 if a line fails or could not be seen; warnings exit with 0.

	entitled doctor
	NATS_USER=ops NATS_PASSWORD=… STRIPE_API_KEY=rk_live_… entitled doctor --json | jq '.checks[] | select(.state != "ok")'`
}

// doctorWithin bounds all of it: each question has a limit of its own.
const doctorWithin = 2 * time.Minute

// Run examines and prints.
func (d doctorCmd) Run(ctx context.Context, s *command.Session) error {
	if d.Mode != "" {
		if _, err := command.ParseMode(d.Mode); err != nil {
			return err
		}
	}
	cfg, err := d.check(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, doctorWithin)
	defer cancel()
	report, err := d.examine(ctx, s, cfg)
	if err != nil {
		return err
	}
	if d.JSON {
		if err := s.EncodeIndented(report); err != nil {
			return err
		}
	} else {
		tell.Report(s.Out, report)
	}
	if report.State == doctor.Fail || report.State == doctor.Unseen {
		return command.ErrSilent
	}
	return nil
}

// check turns the settings into values; the connection and the modes come later.
func (d doctorCmd) check(s *command.Session) (doctor.Config, error) {
	check := daemon.Checker{Program: s.Name}
	cfg := d.Asked.check(&check)
	cfg.Marks, cfg.Version, cfg.Now = d.Marks.Check(&check), daemon.Version(), s.Now
	cfg.CoverageEvery = check.Duration("COVERAGE_EVERY", d.Coverage, daemon.Between(time.Second, 24*time.Hour))
	d.Replaced.Check(&check)
	check.URL("STRIPE_API_BASE", d.Base, "https", "http")
	if key := s.Getenv("STRIPE_API_KEY"); key != "" {
		_, err := stripeapi.ModeOf(key)
		check.Error("STRIPE_API_KEY", err, syncerd.KeyHint)
		cfg.Stripe = &stripeapi.Config{Key: key, Base: d.Base}
	}
	return cfg, check.Err()
}

// examine connects and looks. No connection is a report too.
func (d doctorCmd) examine(ctx context.Context, s *command.Session, cfg doctor.Config) (doctor.Report, error) {
	nc, err := d.Connect(s, nil)
	if err != nil {
		var settings *daemon.SettingsError
		if errors.As(err, &settings) {
			return doctor.Report{}, err
		}
		next := ""
		var h tell.Hinted
		if errors.As(err, &h) {
			next = h.Hint
		}
		return doctor.Unreachable(err, next), nil
	}
	defer nc.Close()
	cfg.NATS = nc
	cfg.Modes = d.modes(ctx, nc, cfg)
	return doctor.Examine(ctx, cfg), nil
}

// modes are the one asked for, that of the key, or those in use; test if that is unknown.
func (d doctorCmd) modes(ctx context.Context, nc *nats.Conn, cfg doctor.Config) []entitlement.Mode {
	if d.Mode != "" {
		return []entitlement.Mode{entitlement.Mode(d.Mode)}
	}
	if cfg.Stripe != nil {
		if m, err := stripeapi.ModeOf(cfg.Stripe.Key); err == nil {
			return []entitlement.Mode{m}
		}
	}
	js, err := jetstream.New(nc)
	if err == nil {
		var used []entitlement.Mode
		if used, err = (topologyFlags{}).modes(ctx, js); err == nil && len(used) > 0 {
			return used
		}
	}
	// The examination finds the reason why the mode cannot be seen.
	return []entitlement.Mode{entitlement.Test}
}
