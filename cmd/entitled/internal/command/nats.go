package command

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

// NATSFlags are the settings of every command that talks to a running pipeline.
type NATSFlags struct {
	NATS daemon.NATSSettings `embed:"" group:"nats"`
}

// Connect returns an established connection, which reconnects when it is lost. onError, if not nil,
// is called with each error that NATS reports.
func (f NATSFlags) Connect(s *Session, onError func(error), more ...nats.Option) (*nats.Conn, error) {
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

// Absences prints when NATS is away and when it is back, for a command that waits for changes.
func Absences(s *Session) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, _ error) {
			if !nc.IsClosed() && !nc.IsDraining() {
				s.Err.Note("NATS is away: changes show when it is back")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { s.Err.Note("NATS is back") }),
	}
}

// ModeFlag says which of Stripe's two worlds is meant.
type ModeFlag struct {
	Mode string `placeholder:"MODE" help:"test or live. Default: that of STRIPE_API_KEY, else of the bucket that is there; test with both."`
}

// ReadMode returns the mode of the flag or of the key; "" if neither is given: see found.
func (f ModeFlag) ReadMode(s *Session) (entitlement.Mode, error) {
	if f.Mode != "" {
		return ParseMode(f.Mode)
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

// Found is m, or live if m is "" and only live has a bucket: on such a server an answer about test
// reads as if all were well. Without permission to look it is test, as with both buckets or none.
func Found(ctx context.Context, nc *nats.Conn, m entitlement.Mode) entitlement.Mode {
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

func ParseMode(flag string) (entitlement.Mode, error) {
	m, err := entitlement.ParseMode(flag)
	if err != nil {
		return "", Misuse(fmt.Errorf("--mode: %w", err), "--mode test or --mode live")
	}
	return m, nil
}

// AnswerWithin bounds a request of a command to NATS that does not depend on Stripe.
const AnswerWithin = 5 * time.Second
