package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/daemon"
	"entitled/internal/dev"
	"entitled/internal/topology"
	"entitled/internal/wiring"
	"entitled/internal/wiring/consoled"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

type devCmd struct {
	For  time.Duration `placeholder:"10s" help:"End after this long, with a summary and a check. Default: at Ctrl-C."`
	JSON bool          `name:"json" help:"Print a line of JSON per change (key, revision, snapshot), and nothing else, on standard output."`
	Data string        `type:"path" placeholder:"DIR" help:"Keep the data there, synced to disk. Default: a temporary directory, removed at the end."`
	Pace time.Duration `default:"500ms" help:"Simulated Stripe: time between two steps of its customers."`

	Listen          string `name:"listen-addr" env:"LISTEN_ADDR" placeholder:"ADDR" help:"Where ingest listens for webhooks. Default: 127.0.0.1:8080, or a free port."`
	Admin           string `name:"admin-addr" env:"ADMIN_ADDR" placeholder:"ADDR" help:"Where /healthz, /readyz and /metrics are. Default: 127.0.0.1:8081, or a free port."`
	Gateway         string `name:"gateway-addr" env:"GATEWAY_ADDR" placeholder:"ADDR" help:"Where the gateway listens. Default: 127.0.0.1:8090, or a free port."`
	Console         string `name:"console-addr" env:"CONSOLE_ADDR" placeholder:"ADDR" help:"Where the console listens. Default: 127.0.0.1:8084, or a free port."`
	ConsolePassword string `name:"console-password" env:"CONSOLE_PASSWORD" secret:"" placeholder:"SECRET" help:"Password that the console asks for. Default: none, on loopback only."`
	NATS            string `name:"nats-addr" env:"NATS_ADDR" placeholder:"ADDR" help:"Where the embedded nats-server listens. Default: 127.0.0.1:4222, or a free port."`
	Sim             string `name:"sim-addr" env:"SIM_ADDR" placeholder:"ADDR" help:"Where the simulated Stripe listens. Default: 127.0.0.1:12111, or a free port."`
	Shop            string `name:"shop-addr" env:"SHOP_ADDR" placeholder:"ADDR" help:"Simulated Stripe: where the example shop listens. Default: 127.0.0.1:8095, or a free port."`
	Verbose         bool   `short:"v" help:"Print all of the banner at once, and the logs of the two daemons on standard error."`

	Key     string              `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" group:"stripe" help:"Restricted, read-only key of Stripe's API. Needs STRIPE_WEBHOOK_SECRETS too."`
	Secrets string              `name:"stripe-webhook-secrets" env:"STRIPE_WEBHOOK_SECRETS" secret:"" placeholder:"WHSEC,…" group:"stripe" help:"Signing secrets of the webhook endpoints, separated by commas."`
	Syncer  syncerd.Settings    `embed:"" group:"daemons"`
	Ingest  ingestd.Settings    `embed:"" group:"daemons"`
	Marks   wiring.MarkSettings `embed:"" group:"daemons"`
}

// Help is shown below the usage.
func (devCmd) Help() string {
	return `Runs ingest, syncer and gateway on an embedded nats-server, and prints each change of a snapshot:
the customer, the status before and after, the changes, the time since the webhook, and the
requests to Stripe.

Without keys it also runs a simulated Stripe, in which a few customers live through weeks in
seconds: checkout, trial, renewal, upgrade, seats, failed payment, recovery, cancellation, deletion,
and access by hand for a while. A plans document decides what they get, and another one is applied
while they live: entitled plans log shows both. A document that you apply stays in force.
You buy in a small shop, whose address is printed.

	entitled dev
	entitled dev --for 10s
	entitled dev --for 10s --json | jq -r '[.key, .snapshot.status] | @tsv'

With your own test account, in two terminals:

	stripe listen --forward-to http://127.0.0.1:8080/webhooks/stripe
	STRIPE_API_KEY=rk_test_… STRIPE_WEBHOOK_SECRETS=whsec_… entitled dev`
}

// simulatedRate is the budget with a simulated Stripe, in requests/s: it has no other users.
const simulatedRate = "200"

// config is what the settings mean.
func (d devCmd) config(s *command.Session) (dev.Config, error) {
	c := daemon.Checker{Program: s.Name + " dev"}
	simulated := d.Key == "" && d.Secrets == ""
	key, secrets, settings := d.Key, []string(nil), d.Syncer
	const both = "; with neither, dev simulates Stripe"
	switch {
	case simulated:
		key = dev.SimulatedKey
		settings.Base = "http://127.0.0.1" // the simulator's, once it listens
		if settings.Rate == "" {
			settings.Rate = simulatedRate
		}
	case d.Secrets == "":
		c.Problem("STRIPE_WEBHOOK_SECRETS", "missing, while STRIPE_API_KEY is set",
			"the signing secret that `stripe listen --print-secret` or your webhook endpoint's page shows, "+
				"whsec_…"+both)
	case d.Key == "":
		c.Problem("STRIPE_API_KEY", "missing, while STRIPE_WEBHOOK_SECRETS is set", syncerd.KeyHint+both)
		key = dev.SimulatedKey // so that the rest is checked
	}
	if d.Secrets != "" {
		secrets = ingestd.Secrets(&c, d.Secrets)
	}
	cfg := dev.Config{
		Simulated: simulated, Syncer: settings.Check(&c, key), Ingest: d.Ingest.Check(&c),
		Tracing: c.Tracing(s.Getenv, "entitled-dev"),
		Listen:  d.Listen, Gateway: d.Gateway, Admin: d.Admin, NATS: d.NATS, Sim: d.Sim, Data: d.Data, For: d.For, Pace: d.Pace,
		Console:     consoled.Settings{Addr: cmp.Or(d.Console, dev.ConsoleAddr), Password: d.ConsolePassword}.Check(&c),
		ConsoleAddr: d.Console, Shop: d.Shop,
		JSON: d.JSON, Verbose: d.Verbose,
		Out: s.Out, Err: s.Err, Self: s.Self,
	}
	for _, a := range []struct{ setting, addr string }{{"LISTEN_ADDR", d.Listen}, {"GATEWAY_ADDR", d.Gateway}, {"ADMIN_ADDR", d.Admin},
		{"NATS_ADDR", d.NATS}, {"SIM_ADDR", d.Sim}, {"SHOP_ADDR", d.Shop}} {
		if a.addr != "" {
			c.Addr(a.setting, a.addr)
		}
	}
	shared := wiring.Shared{Marks: d.Marks.Check(&c), Topology: topology.Options{}}
	cfg.Ingest.Secrets, cfg.Ingest.Shared, cfg.Syncer.Shared = secrets, shared, shared
	return cfg, c.Err()
}

// Run does it all until ctx ends or the time is over.
func (d devCmd) Run(ctx context.Context, s *command.Session) error {
	if err := command.NotNegative("--for", d.For); err != nil {
		return err
	}
	if err := command.NotNegative("--pace", d.Pace); err != nil {
		return err
	}
	cfg, err := d.config(s)
	if err != nil {
		return err
	}
	err = dev.Run(ctx, cfg)
	if errors.Is(err, dev.ErrWrong) {
		err = command.ErrSilent // the summary has said it
	}
	return err
}
