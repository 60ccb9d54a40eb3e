package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"entitled/internal/daemon"
	"entitled/internal/syncer"
	"entitled/internal/wiring"
)

// stripeFlags are the settings of every command that reads Stripe itself: those of the syncers, and they must be the same.
type stripeFlags struct {
	Key      string                  `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" help:"Restricted, read-only key of Stripe's API: rk_live_… or rk_test_…. It decides the mode. Required."`
	Base     string                  `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is." group:"daemons"`
	Rate     string                  `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"As the syncers have it: requests/s to Stripe for all of them and this command together." group:"daemons"`
	Features string                  `name:"features" env:"FEATURES" default:"off" help:"As the syncers have it: entitlements or off." group:"daemons"`
	Grace    string                  `name:"past-due-grace" env:"PAST_DUE_GRACE" default:"72h" help:"As the syncers have it." group:"daemons"`
	Marks    wiring.MarkSettings     `embed:"" group:"daemons"`
	Topology wiring.TopologySettings `embed:"" group:"daemons"`
	natsFlags
}

// operate checks the settings, connects, and calls do with what a syncer of these settings would work with.
func (f stripeFlags) operate(ctx context.Context, s *session, do func(o *syncer.Operator) error) error {
	check := &daemon.Checker{Program: s.Name}
	key := check.Secret("STRIPE_API_KEY", f.Key, wiring.KeyHint)
	settings := wiring.SyncerSettings{Base: f.Base, Rate: f.Rate, Features: f.Features, Grace: f.Grace, CoverageEvery: "5m"}.Check(check, key)
	settings.Shared = wiring.Shared{Marks: f.Marks.Check(check), Topology: f.Topology.Check(check)}
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := f.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	o, err := settings.Operate(ctx, nc, slog.New(s.notices().Handler()))
	if errors.Is(err, syncer.ErrPolicy) {
		return withHint(err, "set FEATURES and PAST_DUE_GRACE as the syncers have them; to change them, restart the syncers first")
	}
	if err != nil {
		return withHint(fmt.Errorf("open the streams and buckets: %w", err), "look with `entitled topology`; this needs the NATS user ops")
	}
	return do(o)
}
