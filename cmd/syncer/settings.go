package main

import (
	"entitled/internal/daemon"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

const about = `Keeps one snapshot per Stripe customer in a NATS KV bucket. Every flag is an environment variable too; the flag wins. Traces are off until OpenTelemetry's OTEL_EXPORTER_OTLP_ENDPOINT is set.`

// settings are as the operator wrote them; config is what they mean.
type settings struct {
	Key    string                `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" help:"Restricted, read-only key of Stripe's API: rk_live_… or rk_test_…. It decides the mode. Required."`
	Syncer syncerd.Settings      `embed:""`
	Admin  string                `name:"admin-addr" env:"ADMIN_ADDR" default:"127.0.0.1:8082" help:"Where /healthz, /readyz and /metrics are."`
	NATS   daemon.NATSSettings   `embed:""`
	Shared wiring.SharedSettings `embed:""`
}

type config struct {
	process wiring.Process
	syncer  syncerd.Syncer
}

func parse(p daemon.Process) (config, error) {
	var s settings
	c, err := p.Parse(about, &s)
	if err != nil {
		return config{}, err
	}
	// Checked in the order in which --help lists them.
	key := c.Secret("STRIPE_API_KEY", s.Key, syncerd.KeyHint)
	cfg := config{
		syncer: s.Syncer.Check(c, key),
		process: wiring.Process{
			Admin:   c.Addr("ADMIN_ADDR", s.Admin),
			NATS:    s.NATS.Check(c),
			Tracing: c.Tracing(p.Getenv, "entitled-"+p.Name),
		},
	}
	cfg.syncer.Shared = s.Shared.Check(c)
	if err := c.Err(); err != nil {
		return config{}, err
	}
	p.Log.Info("starting", "mode", cfg.syncer.Mode, "stripe_rate", cfg.syncer.Rate, c.Settings())
	return cfg, nil
}
