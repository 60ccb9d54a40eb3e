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
	"entitled/internal/stripeevent"
)

// natsFlags are the settings of every command that talks to a running pipeline.
type natsFlags struct {
	NATS daemon.NATSSettings `embed:"" group:"nats"`
}

// connect makes a connection that is there, and comes back when it is lost later. onError, if not nil, is told what NATS
// refuses.
func (f natsFlags) connect(s *session, onError func(error), more ...nats.Option) (*nats.Conn, error) {
	check := daemon.Checker{Program: s.Name}
	settings := f.NATS.Check(&check)
	if err := check.Err(); err != nil {
		return nil, err
	}
	nc, err := daemon.Connect(daemon.Connection{
		NATS: settings, Name: s.Name, Log: s.Log, OnError: onError,
		Options: append(more, nats.RetryOnFailedConnect(false)),
	})
	if err != nil {
		const start = "start NATS, or `entitled dev`, or say where it is and who asks: --nats-url, --nats-user, --nats-password or --nats-creds"
		return nil, withHint(err, cmp.Or(daemon.ConnectHint(err), start))
	}
	return nc, nil
}

// absences tells somebody who waits for news that NATS is away, and when it is back: without that, nothing would seem to happen.
func absences(s *session) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, _ error) {
			if !nc.IsClosed() && !nc.IsDraining() {
				s.err.note("NATS is away: what is new by then is shown when it is back")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { s.err.note("NATS is back") }),
	}
}

// modeFlag says which of Stripe's two worlds is meant.
type modeFlag struct {
	Mode string `placeholder:"MODE" help:"test or live. Default: that of STRIPE_API_KEY, else of the bucket that is there; test with both."`
}

// mode is the one that the flag or the key says; "" if neither is given, and then NATS tells: see found.
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

// found is m, or live if m is "" and only live has a bucket: on such a server an answer about test reads as if all were well. Whoever may
// not look means test, as where there are both or none.
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

// command is one of this tool to copy, about the mode: which one it is about without saying so hangs on STRIPE_API_KEY and on what is in NATS.
func command(m entitlement.Mode, text string) string {
	return "`" + text + " --mode " + string(m) + "`"
}

func parseMode(flag string) (entitlement.Mode, error) {
	m, err := entitlement.ParseMode(flag)
	if err != nil {
		return "", usageError{hinted{fmt.Errorf("--mode: %w", err), "--mode test or --mode live"}}
	}
	return m, nil
}

// An entry is one entry of an entitlement bucket.
type entry struct {
	customer stripeevent.Customer
	data     []byte
	revision uint64
}

const mayRead = "NATS did not answer, or this user may not read the bucket: try the users app or ops, and `entitled doctor`"

// readEntry reads a customer's entry.
func readEntry(ctx context.Context, nc *nats.Conn, c stripeevent.Customer) (entry, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return entry{}, fmt.Errorf("open JetStream: %w", err)
	}
	bucket := entitlement.Bucket(c.Mode)
	kv, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return entry{}, withHint(fmt.Errorf("there is no bucket %s", bucket),
			"no syncer of mode "+string(c.Mode)+" has run here yet; look with `entitled topology`, or choose with --mode")
	}
	if err != nil {
		return entry{}, withHint(fmt.Errorf("open bucket %s: %w", bucket, err), mayRead)
	}
	e, err := kv.Get(ctx, c.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return entry{}, withHint(fmt.Errorf("no snapshot of %s in %s", c, bucket),
			fmt.Sprintf("read it from Stripe with %s, or %s", command(c.Mode, "entitled sync "+c.String()), elsewhere(c)))
	}
	if err != nil {
		return entry{}, withHint(fmt.Errorf("read %s from %s: %w", c, bucket, err), mayRead)
	}
	return entry{customer: c, data: e.Value(), revision: e.Revision()}, nil
}

// snapshot decodes the entry.
func (e entry) snapshot() (entitlement.Snapshot, error) {
	s, err := entitlement.Decode(e.data)
	if err != nil {
		return s, withHint(fmt.Errorf("snapshot of %s, revision %d: %w", e.customer, e.revision, err),
			"upgrade this tool, or look at the entry with --json")
	}
	return s, nil
}
