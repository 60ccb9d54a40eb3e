// Package gatewayd has the settings of a gateway and assembles its parts.
package gatewayd

import (
	"context"
	"fmt"
	"net"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/gateway"
	"entitled/internal/wiring"
)

// Settings are the settings of the gateway alone.
type Settings struct {
	Keys         string `name:"gateway-keys" env:"GATEWAY_KEYS" secret:"" placeholder:"KEY,…" help:"Server keys that may ask for any customer, for syncs and for tokens, separated by commas: each of 32 characters or more, or its digest as sha256:HEX, or file:NAME with one a line."`
	ReadKeys     string `name:"gateway-read-keys" env:"GATEWAY_READ_KEYS" secret:"" placeholder:"KEY,…" help:"Server keys that only read."`
	TokenSecrets string `name:"gateway-token-secrets" env:"GATEWAY_TOKEN_SECRETS" secret:"" placeholder:"SECRET,…" help:"Secrets of customer tokens (HS256), separated by commas: each of 32 bytes or more. The first signs the tokens that the gateway makes."`
	TokenKeys    string `name:"gateway-token-keys" env:"GATEWAY_TOKEN_KEYS" placeholder:"FILE,…" help:"Files with public keys of customer tokens (EdDSA, ES256), as PEM or JWK set, separated by commas. They are read again when they change."`
	Origins      string `name:"gateway-origins" env:"GATEWAY_ORIGINS" placeholder:"ORIGIN,…" help:"Origins of the pages that may ask, separated by commas: https://app.example.com. Default: none."`
	WriteKey     string `name:"stripe-write-key" env:"STRIPE_WRITE_KEY" secret:"" placeholder:"KEY" help:"Restricted key of Stripe's API (rk_…) that may write customers, checkout sessions and portal sessions and read prices, for the routes /checkout and /portal. Its mode must be MODE. Default: none."`
	// StripeBase is STRIPE_API_BASE; the caller sets it.
	StripeBase string `kong:"-"`
	MaxStreams string `name:"max-streams" env:"MAX_STREAMS" default:"20000" help:"Most streams that are open at once."`
}

// Gateway is checked [Settings], with everything else that a gateway needs except its host.
type Gateway struct{ config gateway.Config }

// Check parses the settings; mode is MODE.
func (s Settings) Check(c *daemon.Checker, mode string) Gateway {
	cfg := gateway.Config{
		Mode:         entitlement.Mode(c.OneOf("MODE", mode, "test", "live")),
		Keys:         serverKeys(c, "GATEWAY_KEYS", s.Keys),
		ReadKeys:     serverKeys(c, "GATEWAY_READ_KEYS", s.ReadKeys),
		TokenSecrets: TokenSecrets(c, s.TokenSecrets),
		TokenKeys:    tokenKeys(c, s.TokenKeys),
		Origins:      origins(c, s.Origins),
		MaxStreams:   c.Int("MAX_STREAMS", s.MaxStreams, daemon.Between(1, 1_000_000)),
	}
	cfg.Checkout = s.checkout(c, cfg)
	if s.Keys+s.ReadKeys+s.TokenSecrets+s.TokenKeys == "" {
		c.Problem("GATEWAY_KEYS", "missing, and so are GATEWAY_READ_KEYS, GATEWAY_TOKEN_SECRETS and GATEWAY_TOKEN_KEYS",
			keyHint+"; without any of them nobody could ask")
	}
	return Gateway{cfg}
}

// Run answers on public from the start, with 503 until the bucket has been read. When ctx ends it
// ends the streams, and returns when the other requests are answered.
func (g Gateway) Run(ctx context.Context, h wiring.Host, public net.Listener) error {
	o, err := g.Open(h)
	if err != nil {
		return err
	}
	defer o.Close()
	return o.Gateway.Run(ctx, public, o.source)
}

// Opened is a gateway that another program part serves: its Handler answers, with 503 until Follow has
// read the bucket.
type Opened struct {
	*gateway.Gateway
	mode   entitlement.Mode
	host   wiring.Host
	client *entitlement.Client // nil until the bucket has been read
}

// Open makes a gateway. The caller closes it after the last request.
func (g Gateway) Open(h wiring.Host) (*Opened, error) {
	g.config.Traces, g.config.Log, g.config.Version = h.Traces, h.Log, daemon.Version()
	gw, err := gateway.New(g.config)
	if err != nil {
		return nil, fmt.Errorf("GATEWAY_TOKEN_KEYS: %w", err)
	}
	h.Metrics.MustRegister(gw.Metrics()...)
	return &Opened{Gateway: gw, mode: g.config.Mode, host: h}, nil
}

// Follow keeps the answers current until ctx ends, and then ends the streams.
func (o *Opened) Follow(ctx context.Context) error { return o.Gateway.Follow(ctx, o.source) }

// Close ends the client, after Follow has returned.
func (o *Opened) Close() {
	if o.client != nil {
		_ = o.client.Close() // always nil
	}
}

func (o *Opened) source(ctx context.Context) (gateway.Source, error) {
	client, err := entitlement.Open(ctx, o.host.NATS, o.mode,
		&entitlement.Options{Logger: o.host.Log, WaitForBucket: true, DecisionsOnly: true})
	o.host.Ready(wiring.ReadyTopology, err)
	if err != nil {
		return nil, err
	}
	o.client = client
	return gateway.FromClient(client), nil
}
