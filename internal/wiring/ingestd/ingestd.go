// Package ingestd has the settings of an ingest and assembles its parts.
package ingestd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/topology"
	"entitled/internal/wiring"
)

// Settings are the settings of ingest alone.
type Settings struct {
	MaxBody        string `name:"max-body-bytes" env:"MAX_BODY_BYTES" default:"1 MiB" help:"Largest webhook taken. The max_payload of NATS must be larger."`
	MaxBodies      string `name:"max-bodies-bytes" env:"MAX_BODIES_BYTES" default:"64 MiB" help:"Memory for all webhooks in flight and their connections (32 KiB each). Beyond it, connections without a verified webhook are cut off, first those with the most memory for the longest time. At least twice MAX_BODY_BYTES; GOMEMLIMIT twice this."`
	Tolerance      string `name:"signature-tolerance" env:"SIGNATURE_TOLERANCE" default:"5m" help:"How old, or how far in the future, a signature may be."`
	PublishTimeout string `name:"publish-timeout" env:"PUBLISH_TIMEOUT" default:"5s" help:"How long a webhook waits to be stored before it is answered with 503."`
}

// Ingest is checked [Settings], with everything else that an ingest needs except its host.
type Ingest struct {
	// Secrets are the signing secrets of the webhook endpoints.
	Secrets []string
	Shared  wiring.Shared
	// Beside answers requests for other paths on the same listener; nil refuses them.
	Beside http.Handler

	maxBody, maxBodies        int64 // bytes
	tolerance, publishTimeout time.Duration
	lookEvery                 time.Duration
}

// Check parses the settings. The caller sets Secrets and Shared.
func (s Settings) Check(c *daemon.Checker) Ingest {
	i := Ingest{
		maxBody:   c.Bytes("MAX_BODY_BYTES", s.MaxBody, daemon.Between[int64](1<<10, 32<<20)),
		maxBodies: c.Bytes("MAX_BODIES_BYTES", s.MaxBodies, daemon.Between[int64](1<<20, 64<<30)),
		tolerance: c.Duration("SIGNATURE_TOLERANCE", s.Tolerance, daemon.Between(time.Second, time.Hour)),
		lookEvery: topology.LookEvery,
		publishTimeout: c.Duration("PUBLISH_TIMEOUT",
			s.PublishTimeout, daemon.Between(100*time.Millisecond, 15*time.Second)),
	}
	if i.maxBodies > 0 && i.maxBodies < 2*i.maxBody {
		c.Problem("MAX_BODIES_BYTES",
			strconv.Quote(s.MaxBodies)+": less than twice MAX_BODY_BYTES, so there may be no room for the largest "+
				"webhook",
			"raise it, or lower MAX_BODY_BYTES")
	}
	return i
}

// MaxBody returns the size of the largest webhook taken, in bytes.
func (i Ingest) MaxBody() int64 { return i.maxBody }

// Run answers webhooks on public from the start, with 503 until the streams exist. When ctx ends it
// accepts no more, and returns when those in progress are answered, so that no PubAck is
// outstanding.
func (i Ingest) Run(ctx context.Context, h wiring.Host, public net.Listener) error {
	js, err := ingest.NewPublisher(h.NATS, i.publishTimeout)
	if err != nil {
		return err
	}
	in, err := ingest.New(ingest.Config{
		Publisher:      js,
		Conn:           h.NATS,
		MaxPayload:     h.NATS.MaxPayload,
		Secrets:        i.Secrets,
		MaxBody:        i.maxBody,
		MaxBodies:      i.maxBodies,
		Tolerance:      i.tolerance,
		PublishTimeout: i.publishTimeout,
		Types:          i.Shared.Marks,
		Beside:         i.Beside,
		Traces:         h.Traces,
		Log:            h.Log,
	})
	if err != nil {
		return err
	}
	h.Metrics.MustRegister(in.Metrics()...)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.Run(ctx, public) })
	g.Go(func() error {
		report := func(err error) { h.Ready(wiring.ReadyTopology, err) }
		err := topology.Wait(ctx, js, topology.Ingest(i.Shared.Topology), report)
		if ctx.Err() != nil {
			return nil // stopped while waiting
		}
		if err != nil {
			return fmt.Errorf("topology: %w", err)
		}
		report(nil)
		if err := in.Ready(); err != nil {
			// Not a reason to refuse all webhooks: Stripe's are rarely larger than a tenth of the
			// default.
			h.Log.Warn("cannot store the largest webhooks, whose senders get 503", "err", err)
		}
		topology.Keep(ctx, js, topology.Ingest(i.Shared.Topology), i.lookEvery, tolerant(report))
		return nil
	})
	return g.Wait()
}

// tolerant reports errors of the streams, except that an ingest works with streams that only
// differ.
func tolerant(report func(error)) func(error) {
	return func(err error) {
		_, missing := errors.AsType[*topology.MissingError](err)
		if _, drift := errors.AsType[*topology.DriftError](err); drift && !missing {
			err = nil
		}
		report(err)
	}
}
