// Package ingest receives Stripe's webhooks, verifies them, stores them in NATS, and only then
// acknowledges them.
//
// [New] creates an [Ingest] from a [Config], [Ingest.Run] serves it on a listener, [Ingest.Handler]
// is its handler. The steps of a webhook have a file each: door.go checks its signature's shape and
// time, body.go reads it, door.go verifies the signature, store.go publishes the event and the
// customer's marker and waits for both PubAcks, http.go answers. group.go publishes concurrent
// events as batches.
//
// Guarantees. A 200 means that the event is in STRIPE_EVENTS and, if its type marks its customer,
// that the marker is in STRIPE_SYNC. Nothing is stored without a valid signature. Every signed
// event is stored, whatever its type and API version, so that Stripe does not retry it. Payloads,
// secrets and customers never appear in logs or metrics.
//
// Limits. An ingest has no state and needs no Stripe API key. It keeps a body in memory until its
// PubAck, for at most Config.PublishTimeout. All bodies and connections together take at most
// Config.MaxBodies; senders.go decides which connections are cut off when there are more.
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

// Publisher publishes a message to a stream and returns a future of its PubAck. [NewPublisher]
// returns a suitable one.
type Publisher interface {
	PublishMsgAsync(msg *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error)
}

// Config configures an [Ingest]. Publisher, Secrets and Types are required.
type Config struct {
	// Publisher publishes events and markers.
	Publisher Publisher
	// Conn is the Publisher's connection. Nil disables batches.
	Conn Conn
	// MaxPayload returns the server's present limit of a message in bytes: the connection's
	// MaxPayload method. Nil skips the check in Ready.
	MaxPayload func() int64
	// Secrets are the signing secrets (whsec_…) of the webhook endpoints; a webhook must be signed
	// with one of them. Several are needed during rotation, and for a Connect endpoint next to the
	// account's own.
	Secrets []string
	// MaxBody is the length of the longest accepted body in bytes. Defaults to 1 MiB.
	MaxBody int64
	// MaxBodies is the greatest total memory in bytes of all bodies in flight and all connections,
	// at 32 KiB per connection. Above it, connections without a verified webhook are cut off.
	// Defaults to 64 MiB.
	MaxBodies int64
	// Tolerance is the greatest difference between a signature's timestamp and Now, in either
	// direction. Defaults to 5 minutes.
	Tolerance time.Duration
	// PublishTimeout bounds the wait for the PubAcks of one webhook. Defaults to 5 seconds.
	PublishTimeout time.Duration
	// Types are the event types that mark their customer.
	Types stripeevent.Types
	// Beside answers requests for other paths than [Path], in a program with one public listener. Their
	// connections are not charged while it answers. Nil refuses such requests.
	Beside http.Handler
	// Log receives failures to store and refusals, each kind at most every 10 seconds. Defaults to
	// no logging.
	Log *slog.Logger
	// Traces, if not nil, creates the spans of stored webhooks. Their context is in the headers of
	// event and marker.
	Traces trace.TracerProvider
	// Now returns the time that signatures are compared with. Defaults to time.Now.
	Now func() time.Time
}

// Ingest receives webhooks. It is safe for concurrent use.
type Ingest struct {
	door    door
	store   store
	maxBody int64
	// maxPayload may be nil.
	maxPayload func() int64
	log        *slog.Logger
	metrics    *metrics
	refusals   logLimiter
	failures   logLimiter
	panics     logLimiter
	handler    http.Handler
	parts      parts
	senders    *senders
}

// New checks the configuration and returns all its errors at once.
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
			bad("signing secret %d of %d is empty: with it, anyone could sign (hint: remove a stray comma in "+
				"STRIPE_WEBHOOK_SECRETS)", i+1, len(c.Secrets))
		}
	}
	if c.MaxBody < 0 {
		bad("longest body %d: below zero bytes (hint: MAX_BODY_BYTES=1048576)", c.MaxBody)
	}
	if c.MaxBodies < 2*c.MaxBody {
		bad("%d bytes for all bodies in flight: not twice the longest one, %d (hint: MAX_BODIES_BYTES=67108864)",
			c.MaxBodies, c.MaxBody)
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
	m.charged = heldBytes(in.senders)
	in.handler = in.routes()
	if c.Beside != nil {
		in.handler = in.besides(in.handler, c.Beside)
	}
	return in, nil
}

// overhead is the greatest size in bytes of a stored event besides its body: two headers, whose
// values [stripeevent.Parse] bounds.
const overhead = 4 << 10

// Ready returns an error while the NATS server's message limit is smaller than the largest accepted
// body needs: such an event could be verified but never stored.
func (in *Ingest) Ready() error {
	if in.maxPayload == nil {
		return nil
	}
	has, needs := in.maxPayload(), in.maxBody+overhead
	if has == 0 {
		return errors.New("NATS has not announced its message size limit (hint: check the connection)")
	}
	if has < needs {
		return fmt.Errorf("NATS accepts messages of %d bytes and the largest webhook needs %d (hint: max_payload: %d "+
			"in nats.conf, or lower MAX_BODY_BYTES)",
			has, needs, needs)
	}
	return nil
}
