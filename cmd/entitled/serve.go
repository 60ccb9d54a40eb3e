package main

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/daemon"
	"entitled/internal/serve"
	"entitled/internal/wiring"
	"entitled/internal/wiring/consoled"
	"entitled/internal/wiring/gatewayd"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

type serveCmd struct {
	Data  string `required:"" type:"path" placeholder:"DIR" help:"Where the data, nats.conf and the keys are. The first start makes them."`
	Plans string `type:"path" narrows:"" placeholder:"FILE" help:"Put this plans document in force at the start, unless it is already."`

	Key     string `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" help:"Restricted, read-only key of Stripe's API: rk_live_… or rk_test_…. It decides the mode. Required."`
	Secrets string `name:"stripe-webhook-secrets" env:"STRIPE_WEBHOOK_SECRETS" secret:"" placeholder:"WHSEC,…" help:"Signing secrets of the webhook endpoints, separated by commas. Required."`
	Mode    string `name:"mode" env:"MODE" placeholder:"MODE" help:"Refuse to start with a key of another mode than this: test or live."`
	Listen  string `name:"listen-addr" env:"LISTEN_ADDR" default:":8080" help:"Where webhooks are taken, at /webhooks/stripe, and the gateway answers. It speaks plain HTTP: put TLS in front of it."`
	Admin   string `name:"admin-addr" env:"ADMIN_ADDR" default:"127.0.0.1:8081" help:"Where /healthz, /readyz and /metrics are."`
	NATS    string `name:"nats-addr" env:"NATS_ADDR" placeholder:"ADDR" help:"Where NATS listens. Default: as DIR/nats.conf says, 127.0.0.1:4222."`

	Syncer       syncerd.Settings    `embed:""`
	Ingest       ingestd.Settings    `embed:""`
	Gateway      gatewayd.Settings   `embed:""`
	Console      consoled.Settings   `embed:""`
	Marks        wiring.MarkSettings `embed:""`
	EventsMaxAge string              `name:"events-max-age" env:"EVENTS_MAX_AGE" default:"90d" help:"How long events, and the records of syncs, are kept."`
}

// Help is shown below the usage.
func (serveCmd) Help() string {
	return `Runs NATS, ingest, a syncer, the gateway and the console in one process, for one machine and one volume, with the guarantees of the daemons in processes of their own. Webhooks and the gateway share one address.

	STRIPE_API_KEY=rk_live_… STRIPE_WEBHOOK_SECRETS=whsec_… entitled serve --data /var/lib/entitled --plans plans.yaml

The first start makes a nats.conf with a user for each part, random passwords, and a server key and a token secret for the gateway, and says where. Later starts read these files and do not change them. GATEWAY_KEYS and GATEWAY_TOKEN_SECRETS replace those that were made.

SIGTERM ends the streams, answers what is in progress, finishes the syncs and stops NATS. What was answered 200 is on disk, also after a kill or a power failure.`
}

// Run serves until ctx ends.
func (c serveCmd) Run(ctx context.Context, s *command.Session) error {
	cfg, err := c.config(s)
	if err != nil {
		return err
	}
	if c.Plans != "" {
		if cfg.Plans, err = readPlans(s, c.Plans); err != nil {
			return err
		}
	}
	err = serve.Run(ctx, cfg)
	if bad, ok := errors.AsType[serve.ConfError](err); ok {
		return command.Misuse(bad.Err, bad.Hint)
	}
	return err
}

// config is what the settings mean.
func (c serveCmd) config(s *command.Session) (serve.Config, error) {
	check := daemon.Checker{Program: s.Name + " serve"}
	c.Gateway.StripeBase = c.Syncer.Base
	key := check.Secret("STRIPE_API_KEY", c.Key, syncerd.KeyHint)
	secrets := ingestd.Secrets(&check, c.Secrets)
	cfg := serve.Config{
		Dir: c.Data, Public: check.Addr("LISTEN_ADDR", c.Listen), Admin: check.Addr("ADMIN_ADDR", c.Admin),
		Syncer: c.Syncer.Check(&check, key), Ingest: c.Ingest.Check(&check), Gateway: c.Gateway,
		Console: c.Console.Check(&check),
		Tracing: check.Tracing(s.Getenv, "entitled-serve"), PlansFile: c.Plans,
		Out: s.Out, Log: daemon.NewLog(s.Stderr), Self: s.Self,
	}
	if c.NATS != "" {
		cfg.NATS = check.Addr("NATS_ADDR", c.NATS)
	}
	if c.Mode != "" {
		mode := check.OneOf("MODE", c.Mode, "test", "live")
		if mode != "" && cfg.Syncer.Mode != "" && mode != string(cfg.Syncer.Mode) {
			check.Problem("MODE", mode+", and STRIPE_API_KEY is of mode "+string(cfg.Syncer.Mode), "the mode of the key")
		}
	}
	// The keys that the directory has are checked when it is open.
	given := c.Gateway
	if given.Keys == "" {
		given.Keys = strings.Repeat("0", 64)
	}
	given.Check(&check, cmp.Or(string(cfg.Syncer.Mode), "test"))
	shared := wiring.SharedSettings{MarkSettings: c.Marks,
		TopologySettings: wiring.TopologySettings{EventsMaxAge: c.EventsMaxAge}}.Check(&check)
	cfg.Ingest.Secrets, cfg.Ingest.Shared, cfg.Syncer.Shared = secrets, shared, shared
	return cfg, check.Err()
}
