package main

import (
	"entitled/internal/daemon"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
)

const about = `Takes Stripe's webhooks, verifies them and stores them in NATS JetStream. Every flag is an environment variable too; the flag wins. Traces are off until OpenTelemetry's OTEL_EXPORTER_OTLP_ENDPOINT is set.`

// settings are as the operator wrote them; config is what they mean.
type settings struct {
	Secrets string                `name:"stripe-webhook-secrets" env:"STRIPE_WEBHOOK_SECRETS" secret:"" placeholder:"WHSEC,…" help:"Signing secrets of the webhook endpoints, separated by commas; a webhook must be signed with one of them. Required."`
	Listen  string                `name:"listen-addr" env:"LISTEN_ADDR" default:":8080" help:"Where webhooks are taken, at /webhooks/stripe."`
	Admin   string                `name:"admin-addr" env:"ADMIN_ADDR" default:"127.0.0.1:8081" help:"Where /healthz, /readyz and /metrics are."`
	NATS    daemon.NATSSettings   `embed:""`
	Ingest  ingestd.Settings      `embed:""`
	Shared  wiring.SharedSettings `embed:""`
}

type config struct {
	listen  string
	process wiring.Process
	ingest  ingestd.Ingest
}

func parse(p daemon.Process) (config, error) {
	var s settings
	c, err := p.Parse(about, &s)
	if err != nil {
		return config{}, err
	}
	// Checked in the order in which --help lists them.
	secrets := ingestd.Secrets(c, s.Secrets)
	cfg := config{
		listen: c.Addr("LISTEN_ADDR", s.Listen),
		process: wiring.Process{
			Admin:   c.Addr("ADMIN_ADDR", s.Admin),
			NATS:    s.NATS.Check(c),
			Tracing: c.Tracing(p.Getenv, "entitled-"+p.Name),
		},
		ingest: s.Ingest.Check(c),
	}
	cfg.ingest.Secrets, cfg.ingest.Shared = secrets, s.Shared.Check(c)
	if err := c.Err(); err != nil {
		return config{}, err
	}
	p.Log.Info("starting", c.Settings())
	return cfg, nil
}
