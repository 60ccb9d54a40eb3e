package main

import (
	"entitled/internal/daemon"
	"entitled/internal/wiring"
	"entitled/internal/wiring/gatewayd"
)

const about = `Answers over HTTP what a Stripe customer is entitled to, for any language and for the browser. Every flag is an environment variable too; the flag wins. Traces are off until OpenTelemetry's OTEL_EXPORTER_OTLP_ENDPOINT is set.`

// settings are as the operator wrote them; config is what they mean.
type settings struct {
	Mode    string              `name:"mode" env:"MODE" placeholder:"MODE" help:"Stripe's mode: test or live. Required."`
	Gateway gatewayd.Settings   `embed:""`
	Base    string              `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is."`
	Listen  string              `name:"listen-addr" env:"LISTEN_ADDR" default:":8090" help:"Where requests are answered. It speaks plain HTTP: put TLS in front of it."`
	Admin   string              `name:"admin-addr" env:"ADMIN_ADDR" default:"127.0.0.1:8083" help:"Where /healthz, /readyz and /metrics are."`
	NATS    daemon.NATSSettings `embed:""`
}

type config struct {
	listen  string
	process wiring.Process
	gateway gatewayd.Gateway
}

func parse(p daemon.Process) (config, error) {
	var s settings
	c, err := p.Parse(about, &s)
	if err != nil {
		return config{}, err
	}
	s.Gateway.StripeBase = s.Base
	// Checked in the order in which --help lists them.
	cfg := config{
		gateway: s.Gateway.Check(c, s.Mode),
		listen:  c.Addr("LISTEN_ADDR", s.Listen),
		process: wiring.Process{
			Admin:       c.Addr("ADMIN_ADDR", s.Admin),
			NATS:        s.NATS.Check(c),
			Tracing:     c.Tracing(p.Getenv, "entitled-"+p.Name),
			WithoutNATS: true,
		},
	}
	if err := c.Err(); err != nil {
		return config{}, err
	}
	p.Log.Info("starting", c.Settings())
	return cfg, nil
}
