// Package tracing is what a trace needs on its way through NATS: its context in the headers of a message, as W3C writes it
// (traceparent, tracestate). It makes no spans and holds no provider. Baggage is not carried: it is for whatever a program
// likes, and what is stored is kept for months.
package tracing

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
)

var w3c propagation.TraceContext

// Inject writes the context of the span in ctx to a message's headers; without a span it writes nothing.
func Inject(ctx context.Context, h nats.Header) { w3c.Inject(ctx, carrier(h)) }

// Extract returns ctx with the span that a message's headers name, or ctx itself.
func Extract(ctx context.Context, h nats.Header) context.Context {
	return w3c.Extract(ctx, carrier(h))
}

// A carrier keeps the case of its keys, as NATS does; net/http's would write Traceparent.
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

// What the spans of all programs have in common: OpenTelemetry's names for messages, and ours for what is Stripe's.
// They carry ids and event types, never payloads.
const (
	System      = attribute.Key("messaging.system")
	Operation   = attribute.Key("messaging.operation.name")
	Destination = attribute.Key("messaging.destination.name")
	// Sequence is the message's in its stream.
	Sequence = attribute.Key("nats.stream_seq")
	Event    = attribute.Key("stripe.event.id")
	Type     = attribute.Key("stripe.event.type")
	Mode     = attribute.Key("stripe.mode")
	Account  = attribute.Key("stripe.account")
	Customer = attribute.Key("stripe.customer")
)

// Message describes what is done with a message of a stream: publish, process.
func Message(operation, stream string) []attribute.KeyValue {
	return []attribute.KeyValue{System.String("nats"), Operation.String(operation), Destination.String(stream)}
}
