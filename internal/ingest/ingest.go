// Package ingest is the door: it takes Stripe's webhooks, verifies them, stores them in NATS and only then says so.
//
// [New] makes an [Ingest] from a [Config], [Ingest.Run] serves it on a listener, [Ingest.Handler] is the same without one.
// A webhook passes through a few steps, a file each: door.go looks at its signature's shape and time, body.go reads it, door.go decides
// whether Stripe signed it, store.go publishes the event and the customer's marker and waits for both PubAcks, http.go answers. Where a crowd waits for a
// disk, group.go stores its events together.
//
// Guarantees. A 200 means that the event is in STRIPE_EVENTS and, if its type marks its customer, that the marker is in
// STRIPE_SYNC. Nothing that is not signed with one of the secrets is stored. Everything that is, is
// stored whatever its type or API version, so that Stripe has no reason to retry it. No payload, secret or customer is
// logged or counted.
//
// Limits. An ingest holds no state and needs no Stripe API key. It keeps the bodies of webhooks that wait for a PubAck in
// memory, each up to Config.MaxBody, for Config.PublishTimeout at most. All bodies and connections together take
// Config.MaxBodies at most, from all senders together; senders.go says who is cut off when more come.
package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"entitled/internal/stripeevent"
)

// Publisher publishes a message to a stream and promises its PubAck. [NewPublisher] makes a fit one.
type Publisher interface {
	PublishMsgAsync(msg *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error)
}

// Config is what an [Ingest] is made of. Publisher, Secrets and Types are required.
type Config struct {
	// Publisher is where events and markers go.
	Publisher Publisher
	// Conn is the connection of the Publisher. Nil has every event published by itself, however many wait.
	Conn Conn
	// MaxPayload, in bytes, is how much the NATS server takes in one message, at present: the connection's MaxPayload
	// method. Nil skips the check in Ready.
	MaxPayload func() int64
	// Secrets are the signing secrets (whsec_…) of the webhook endpoints; a webhook must be signed with one of them. More
	// than one serves rotation, and Connect endpoints beside one's own.
	Secrets []string
	// MaxBody, in bytes, is the longest body taken. Defaults to 1 MiB.
	MaxBody int64
	// MaxBodies, in bytes, is how much all bodies in flight may take together, and the connections, each of which counts 32 KiB.
	// For more, connections are cut off that have sent no verified webhook yet. Defaults to 64 MiB.
	MaxBodies int64
	// Tolerance is how far a signature's timestamp may be from Now, either way. Defaults to 5 minutes.
	Tolerance time.Duration
	// PublishTimeout is how long to wait for the PubAcks of one webhook. Defaults to 5 seconds.
	PublishTimeout time.Duration
	// Types are the event types that mark their customer dirty.
	Types stripeevent.Types
	// Log takes few lines: failures to store and refusals, each kind at most every 10 seconds. Defaults to none.
	Log *slog.Logger
	// Traces, if not nil, makes the spans of stored webhooks; their context travels in the headers of event and marker.
	Traces trace.TracerProvider
	// Now tells the time that signatures are compared with. Defaults to time.Now.
	Now func() time.Time
}

// Ingest takes webhooks. It is safe for concurrent use.
type Ingest struct {
	door    door
	store   store
	maxBody int64
	// maxPayload may be nil.
	maxPayload func() int64
	log        *slog.Logger
	metrics    *metrics
	refusals   seldom
	failures   seldom
	panics     seldom
	handler    http.Handler
	parts      parts
	senders    *senders
}

// New checks the configuration and reports all that is wrong with it at once.
func New(c Config) (*Ingest, error) {
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.MaxBodies == 0 {
		c.MaxBodies = 64 << 20
	}
	if c.Tolerance == 0 {
		c.Tolerance = 5 * time.Minute
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("ingest: "+format, args...)) }
	if c.Publisher == nil {
		bad("no publisher (hint: NewPublisher)")
	}
	if len(c.Secrets) == 0 {
		bad("no signing secret (hint: STRIPE_WEBHOOK_SECRETS=whsec_…, from the webhook endpoint's page in Stripe)")
	}
	for i, s := range c.Secrets {
		if s == "" {
			bad("signing secret %d of %d is empty: anybody could sign with it (hint: look for a stray comma in STRIPE_WEBHOOK_SECRETS)", i+1, len(c.Secrets))
		}
	}
	if c.MaxBody < 0 {
		bad("longest body %d: below zero bytes (hint: MAX_BODY_BYTES=1048576)", c.MaxBody)
	}
	if c.MaxBodies < 2*c.MaxBody {
		bad("%d bytes for all bodies in flight: not twice the longest one, %d (hint: MAX_BODIES_BYTES=67108864)", c.MaxBodies, c.MaxBody)
	}
	if c.Tolerance < 0 {
		bad("signature tolerance %v: below zero (hint: SIGNATURE_TOLERANCE=5m)", c.Tolerance)
	}
	if c.PublishTimeout < 0 {
		bad("publish timeout %v: below zero (hint: PUBLISH_TIMEOUT=5s)", c.PublishTimeout)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	m := newMetrics()
	in := &Ingest{
		door: door{secrets: c.Secrets, tolerance: c.Tolerance, now: c.Now},
		store: store{
			publisher: c.Publisher, timeout: c.PublishTimeout, types: c.Types, metrics: m, trace: newTracer(c.Traces),
			events: &group{publisher: c.Publisher, conn: c.Conn, patience: c.PublishTimeout / 2, metrics: m},
		},
		maxBody:    c.MaxBody,
		maxPayload: c.MaxPayload,
		log:        c.Log,
		metrics:    m,
		senders:    newSenders(c.MaxBodies, m.cut.Inc),
	}
	m.held = heldBytes(in.senders)
	in.handler = in.routes()
	return in, nil
}

// overhead, in bytes, is what a stored event needs in a NATS message besides its body: two headers, whose values are
// bounded by [stripeevent.Parse].
const overhead = 4 << 10

// Ready returns an error while the NATS server takes smaller messages than the largest body allowed needs: such an event
// could be verified but never stored.
func (in *Ingest) Ready() error {
	if in.maxPayload == nil {
		return nil
	}
	has, needs := in.maxPayload(), in.maxBody+overhead
	if has == 0 {
		return errors.New("NATS has not said yet how large messages may be (hint: is the connection up?)")
	}
	if has < needs {
		return fmt.Errorf("NATS takes messages of %d bytes and the largest webhook needs %d (hint: max_payload: %d in nats.conf, or lower MAX_BODY_BYTES)",
			has, needs, needs)
	}
	return nil
}
