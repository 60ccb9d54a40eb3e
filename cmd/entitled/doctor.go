package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/doctor"
	"entitled/internal/stripeapi"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

type doctorCmd struct {
	JSON     bool                    `name:"json" help:"Print JSON."`
	Mode     string                  `placeholder:"MODE" help:"Look at one mode only: test or live. Default: that of STRIPE_API_KEY if it is set, else those that have anything in NATS."`
	Monitor  string                  `name:"nats-monitor" env:"NATS_MONITOR" placeholder:"URL" help:"Monitoring port of the NATS server, where the servers do not answer over the connection; none if somebody else looks after them. Default: port 8222 of the server connected to."`
	MaxBody  string                  `name:"max-body-bytes" env:"MAX_BODY_BYTES" default:"1 MiB" help:"As ingest has it." group:"daemons"`
	Coverage string                  `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"As the syncers have it." group:"daemons"`
	Base     string                  `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is." group:"daemons"`
	Features string                  `name:"features" env:"FEATURES" default:"off" help:"As the syncers have it: entitlements or off." group:"daemons"`
	Marks    wiring.MarkSettings     `embed:"" group:"daemons"`
	Topology wiring.TopologySettings `embed:"" group:"daemons"`
	natsFlags
}

// Help is shown below the usage.
func (doctorCmd) Help() string {
	return `Looks at everything that keeps snapshots right, writes nothing, and says for each line that is not ok what to do next. With STRIPE_API_KEY
set it also tries the kinds of request that a syncer makes: three, and with FEATURES=entitlements a fourth. Exits with 1 when a line fails, or
could not be seen; warnings exit with 0.

	entitled doctor
	NATS_USER=ops NATS_PASSWORD=… STRIPE_API_KEY=rk_live_… entitled doctor --json | jq '.checks[] | select(.state != "ok")'`
}

// doctorWithin bounds all of it: each question has a limit of its own.
const doctorWithin = 2 * time.Minute

// Run examines and prints.
func (d doctorCmd) Run(ctx context.Context, s *session) error {
	if d.Mode != "" {
		if _, err := parseMode(d.Mode); err != nil {
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
		if err := printIndented(s, report); err != nil {
			return err
		}
	} else {
		showReport(s.out, report)
	}
	if report.State == doctor.Fail || report.State == doctor.Unseen {
		return errSilent
	}
	return nil
}

// check turns the settings into values; the connection and the modes come later.
func (d doctorCmd) check(s *session) (doctor.Config, error) {
	check := daemon.Checker{Program: s.Name}
	cfg := doctor.Config{
		Topology:      d.Topology.Check(&check),
		MaxBody:       check.Bytes("MAX_BODY_BYTES", d.MaxBody, daemon.Between[int64](1<<10, 32<<20)),
		Marks:         d.Marks.Check(&check),
		CoverageEvery: check.Duration("COVERAGE_EVERY", d.Coverage, daemon.Between(time.Second, 24*time.Hour)),
		Now:           s.now,
	}
	features := check.OneOf("FEATURES", d.Features, "off", "entitlements")
	check.URL("STRIPE_API_BASE", d.Base, "https", "http")
	if d.Monitor != "" && d.Monitor != doctor.NoMonitor {
		check.URL("NATS_MONITOR", d.Monitor, "http", "https")
	}
	cfg.Monitor = d.Monitor
	if key := s.Getenv("STRIPE_API_KEY"); key != "" {
		_, err := stripeapi.ModeOf(key)
		check.Error("STRIPE_API_KEY", err, syncerd.KeyHint)
		cfg.Stripe = &stripeapi.Config{Key: key, Base: d.Base, Features: features == "entitlements"}
	}
	return cfg, check.Err()
}

// examine connects and looks. No connection is a report too.
func (d doctorCmd) examine(ctx context.Context, s *session, cfg doctor.Config) (doctor.Report, error) {
	nc, err := d.connect(s, nil)
	if err != nil {
		var settings *daemon.SettingsError
		if errors.As(err, &settings) {
			return doctor.Report{}, err
		}
		next := ""
		var h hinted
		if errors.As(err, &h) {
			next = h.hint
		}
		return doctor.Unreachable(err, next), nil
	}
	defer nc.Close()
	cfg.NATS = nc
	if cfg.Monitor == "" {
		cfg.Monitor = monitorOf(nc.ConnectedUrl())
	}
	cfg.Modes = d.modes(ctx, nc, cfg)
	return doctor.Examine(ctx, cfg), nil
}

// monitorOf is where the monitoring port of a server usually is.
func monitorOf(server string) string {
	host := "127.0.0.1"
	if u, err := url.Parse(server); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	return "http://" + net.JoinHostPort(host, "8222")
}

// modes are the one asked for, that of the key, or those in use; test if nobody can tell.
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
	// What keeps it from being seen is what the examination finds.
	return []entitlement.Mode{entitlement.Test}
}

func showReport(out terminal, r doctor.Report) {
	width, state := 0, len(doctor.Warn)
	for _, c := range r.Checks {
		width, state = max(width, columns(c.Name)), max(state, len(c.State))
	}
	heading := ""
	counts := map[doctor.State]int{}
	for _, c := range r.Checks {
		if m := string(c.Mode); m != heading {
			heading = m
			fmt.Fprintf(out, "\n%s\n", out.paint(strong, "mode "+m))
		}
		counts[c.State]++
		mark, t := "✓", grants
		switch c.State {
		case doctor.Warn:
			mark, t = "~", ending
		case doctor.Unseen:
			mark, t = "?", denies
		case doctor.Fail:
			mark, t = "✗", denies
		}
		lead := out.paint(t, mark) + " " + out.paint(t, pad(string(c.State), state)) + "  " + pad(c.Name, width)
		indent := 2 + state + 2 + width + 2
		lines := reportLines(out, indent, printable(c.Text))
		fmt.Fprintf(out, "%s  %s\n", lead, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(out, "%*s%s\n", indent, "", line)
		}
		if c.Next == "" {
			continue
		}
		arrow := "→ " // before the column of the texts
		for _, line := range reportLines(out, indent, printable(c.Next)) {
			fmt.Fprintf(out, "%*s%s\n", indent-2, "", out.paint(faint, arrow+line))
			arrow = "  "
		}
	}
	fmt.Fprintf(out, "\n%s\n", tallyOf(counts))
}

// tallyOf is the last line: it must not read as if all were well where something could not be seen.
func tallyOf(counts map[doctor.State]int) string {
	text := fmt.Sprintf("%d ok, %d to look at, %d failing", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail])
	switch n := counts[doctor.Unseen]; {
	case n == 0:
		return text
	case counts[doctor.Fail] == 0:
		return fmt.Sprintf("%s that can be seen; %d could not be seen and may be failing", text, n)
	default:
		return fmt.Sprintf("%s; %d could not be seen and may be failing too", text, n)
	}
}

// reportLines is text as it stands behind an indent: wrapped on a terminal, whole where it is read by programs such as grep.
func reportLines(out terminal, indent int, text string) []string {
	if !out.clips {
		return []string{text}
	}
	return wrap(text, max(20, out.width()-indent))
}
