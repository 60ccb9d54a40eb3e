// Package tracing carries the context of a trace through NATS, in the headers of a message, in
// W3C's format (traceparent, tracestate). It creates no spans and has no provider. It does not
// carry baggage, which may contain anything, while messages are stored for months.
package tracing

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
)

var w3c propagation.TraceContext

// Inject writes the context of the span in ctx to a message's headers, if there is a span.
func Inject(ctx context.Context, h nats.Header) { w3c.Inject(ctx, carrier(h)) }

// Extract returns ctx with the span that a message's headers name, or ctx itself.
func Extract(ctx context.Context, h nats.Header) context.Context {
	return w3c.Extract(ctx, carrier(h))
}

// A carrier keeps the case of its keys, as NATS does; net/http's carrier would write Traceparent.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// The attributes that the spans of all programs share: OpenTelemetry's names for messaging, and
// ours for Stripe. They have ids and event types, never payloads.
const (
	System      = attribute.Key("messaging.system")
	Operation   = attribute.Key("messaging.operation.name")
	Destination = attribute.Key("messaging.destination.name")
	// Sequence is the sequence of the message in its stream.
	Sequence = attribute.Key("nats.stream_seq")
	Event    = attribute.Key("stripe.event.id")
	Type     = attribute.Key("stripe.event.type")
	Mode     = attribute.Key("stripe.mode")
	Account  = attribute.Key("stripe.account")
	Customer = attribute.Key("stripe.customer")
)

// Message returns the attributes of an operation (publish, process) on a message of a stream.
func Message(operation, stream string) []attribute.KeyValue {
	return []attribute.KeyValue{System.String("nats"), Operation.String(operation), Destination.String(stream)}
}
