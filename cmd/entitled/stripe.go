package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/stripeapi"
	"entitled/internal/syncer"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

// stripeFlags are the settings of every command that reads Stripe itself: those of the syncers, and they must be the same.
type stripeFlags struct {
	Key      string                  `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" help:"Restricted, read-only key of Stripe's API: rk_live_… or rk_test_…. It decides the mode. Required."`
	Base     string                  `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is." group:"daemons"`
	Rate     string                  `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"As the syncers have it: requests/s to Stripe for all of them and this command together, 1 to 1000." group:"daemons"`
	Features string                  `name:"features" env:"FEATURES" default:"off" help:"As the syncers have it: entitlements or off." group:"daemons"`
	Grace    string                  `name:"past-due-grace" env:"PAST_DUE_GRACE" default:"72h" help:"As the syncers have it." group:"daemons"`
	Marks    wiring.MarkSettings     `embed:"" group:"daemons"`
	Topology wiring.TopologySettings `embed:"" group:"daemons"`
	natsFlags
}

const policyHint = "set FEATURES and PAST_DUE_GRACE as the syncers have them; to change them, start a syncer with the new ones and --adopt-policy first"

// operate checks the settings, connects, and calls do with what a syncer of these settings would work with. Only who begins a mode
// may find nothing of it: for the others a key of the wrong mode would begin one that nobody serves.
func (f stripeFlags) operate(ctx context.Context, s *session, begins bool, do func(o *syncer.Operator) error) error {
	check := &daemon.Checker{Program: s.Name}
	key := check.Secret("STRIPE_API_KEY", f.Key, syncerd.KeyHint)
	settings := syncerd.Settings{Base: f.Base, Rate: f.Rate, Features: f.Features, Grace: f.Grace, CoverageEvery: "5m"}.Check(check, key)
	settings.Shared = wiring.Shared{Marks: f.Marks.Check(check), Topology: f.Topology.Check(check)}
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := f.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	if !begins {
		if err := inUse(ctx, nc, settings.Mode); err != nil {
			return err
		}
	}
	o, err := settings.Operate(ctx, nc, slog.New(s.notices().Handler()))
	if err != nil {
		return withHint(fmt.Errorf("open the streams and buckets: %w", err), "look with `entitled topology`; this needs the NATS user ops")
	}
	err = do(o)
	if errors.Is(err, syncer.ErrPolicy) {
		return withHint(err, policyHint)
	}
	return err
}

// inUse fails if nobody has begun the mode.
func inUse(ctx context.Context, nc *nats.Conn, mode entitlement.Mode) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, err = js.KeyValue(ctx, entitlement.Bucket(mode))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return withHint(fmt.Errorf("there is no bucket %s: nothing of mode %s is here", entitlement.Bucket(mode), mode),
			"is STRIPE_API_KEY of the right mode? a syncer, or `entitled backfill`, begins one")
	}
	if err != nil {
		return withHint(fmt.Errorf("look for bucket %s: %w", entitlement.Bucket(mode), err), "is JetStream on? this needs the NATS user ops")
	}
	return nil
}

// ended is err of a reading of Stripe that came as far as done says. again is what to do where nothing else needs to be done.
func ended(ctx context.Context, done string, err error, again string) error {
	if ctx.Err() != nil {
		return withHint(errors.New("interrupted after "+done), again)
	}
	if e, ok := errors.AsType[*stripeapi.Error](err); ok {
		again = adviceOn(e.Status) + "; then " + again
	}
	return withHint(fmt.Errorf("after %s: %w", done, err), again)
}
