package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/stripeapi"
	"entitled/internal/tell"
)

// natsFlags are the settings of every command that talks to a running pipeline.
type natsFlags struct {
	NATS daemon.NATSSettings `embed:"" group:"nats"`
}

// connect returns an established connection, which reconnects when it is lost. onError, if not nil,
// is called with each error that NATS reports.
func (f natsFlags) connect(s *session, onError func(error), more ...nats.Option) (*nats.Conn, error) {
	check := daemon.Checker{Program: s.Name}
	settings := f.NATS.Check(&check)
	if err := check.Err(); err != nil {
		return nil, err
	}
	nc, err := daemon.Connect(daemon.Connection{
		NATS: settings, Name: s.Name, Log: s.Log, OnError: onError,
		Options: append([]nats.Option{nats.RetryOnFailedConnect(false)}, more...),
	})
	if err != nil {
		const start = "start NATS or `entitled dev`, or give its address and the user: --nats-url, --nats-user, " +
			"--nats-password or --nats-creds"
		return nil, tell.WithHint(err, cmp.Or(daemon.ConnectHint(err), start))
	}
	return nc, nil
}

// absences prints when NATS is away and when it is back, for a command that waits for changes.
func absences(s *session) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, _ error) {
			if !nc.IsClosed() && !nc.IsDraining() {
				s.err.Note("NATS is away: changes show when it is back")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { s.err.Note("NATS is back") }),
	}
}

// modeFlag says which of Stripe's two worlds is meant.
type modeFlag struct {
	Mode string `placeholder:"MODE" help:"test or live. Default: that of STRIPE_API_KEY, else of the bucket that is there; test with both."`
}

// mode returns the mode of the flag or of the key; "" if neither is given: see found.
func (f modeFlag) mode(s *session) (entitlement.Mode, error) {
	if f.Mode != "" {
		return parseMode(f.Mode)
	}
	key := s.Getenv("STRIPE_API_KEY")
	if key == "" {
		return "", nil
	}
	m, err := stripeapi.ModeOf(key)
	if err != nil {
		check := daemon.Checker{Program: s.Name}
		check.Error("STRIPE_API_KEY", err, "give --mode test or --mode live, which needs no key")
		return "", check.Err()
	}
	return m, nil
}

// modeWithin bounds the look for a mode: a NATS user who may not look gets no answer.
const modeWithin = 2 * time.Second

// found is m, or live if m is "" and only live has a bucket: on such a server an answer about test
// reads as if all were well. Without permission to look it is test, as with both buckets or none.
func found(ctx context.Context, nc *nats.Conn, m entitlement.Mode) entitlement.Mode {
	if m != "" {
		return m
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return entitlement.Test
	}
	ctx, cancel := context.WithTimeout(ctx, modeWithin)
	defer cancel()
	if _, err := js.KeyValue(ctx, entitlement.Bucket(entitlement.Test)); !errors.Is(err, jetstream.ErrBucketNotFound) {
		return entitlement.Test
	}
	if _, err := js.KeyValue(ctx, entitlement.Bucket(entitlement.Live)); err == nil {
		return entitlement.Live
	}
	return entitlement.Test
}

func parseMode(flag string) (entitlement.Mode, error) {
	m, err := entitlement.ParseMode(flag)
	if err != nil {
		return "", misuse(fmt.Errorf("--mode: %w", err), "--mode test or --mode live")
	}
	return m, nil
}

// answerWithin bounds a request of a command to NATS that does not depend on Stripe.
const answerWithin = 5 * time.Second
