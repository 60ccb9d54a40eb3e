package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/stripeapi"
	"entitled/internal/syncer"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

// stripeFlags are the settings of every command that reads Stripe itself: those of the syncers, and
// they must be the same.
type stripeFlags struct {
	Key      string                  `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" help:"Restricted, read-only key of Stripe's API: rk_live_… or rk_test_…. It decides the mode. Required."`
	Base     string                  `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is." group:"daemons"`
	Rate     string                  `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"As the syncers have it: requests/s to Stripe for all of them and this command together, 1 to 1000." group:"daemons"`
	Replaced syncerd.Replaced        `embed:""`
	Marks    wiring.MarkSettings     `embed:"" group:"daemons"`
	Topology wiring.TopologySettings `embed:"" group:"daemons"`
	command.NATSFlags
}

// operate checks the settings, connects, and calls do with what a syncer of these settings would
// work with. Only who begins a mode may find nothing of it: for the others a key of the wrong mode
// would begin one that no syncer serves.
func (f stripeFlags) operate(ctx context.Context, s *command.Session, begins bool,
	do func(o *syncer.Operator) error) error {
	check := &daemon.Checker{Program: s.Name}
	key := check.Secret("STRIPE_API_KEY", f.Key, syncerd.KeyHint)
	settings := syncerd.Settings{Base: f.Base, Rate: f.Rate, CoverageEvery: "5m",
		Replaced: f.Replaced}.Check(check, key)
	settings.Shared = wiring.Shared{Marks: f.Marks.Check(check), Topology: f.Topology.Check(check)}
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := f.Connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	if !begins {
		if err := inUse(ctx, nc, settings.Mode); err != nil {
			return err
		}
	}
	o, err := settings.Operate(ctx, nc, slog.New(term.Notices(s.Err).Handler()))
	if err != nil {
		return tell.WithHint(fmt.Errorf("open the streams and buckets: %w", err), "run `entitled topology`; "+
			"this command needs the NATS user ops")
	}
	return do(o)
}

// inUse fails if the mode has no streams or bucket yet.
func inUse(ctx context.Context, nc *nats.Conn, mode entitlement.Mode) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, command.AnswerWithin)
	defer cancel()
	_, err = js.KeyValue(ctx, entitlement.Bucket(mode))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return tell.WithHint(fmt.Errorf("there is no bucket %s: nothing of mode %s "+
			"is here", entitlement.Bucket(mode), mode),
			"check the mode of STRIPE_API_KEY; a syncer or `entitled backfill` creates the bucket")
	}
	if err != nil {
		return tell.WithHint(fmt.Errorf("look for bucket "+
			"%s: %w", entitlement.Bucket(mode), err), "check that JetStream is on; this command needs the NATS "+
			"user ops")
	}
	return nil
}

// ended completes err, with which a reading of Stripe ended, by its progress, done. again is the
// hint where the error itself needs no other step.
func ended(ctx context.Context, done string, err error, again string) error {
	if ctx.Err() != nil {
		return tell.WithHint(errors.New("interrupted after "+done), again)
	}
	if e, ok := errors.AsType[*stripeapi.Error](err); ok {
		again = tell.StripeHint(e.Status) + "; then " + again
	}
	return tell.WithHint(fmt.Errorf("after %s: %w", done, err), again)
}
