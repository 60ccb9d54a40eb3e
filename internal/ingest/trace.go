package ingest

import (
	"context"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"entitled/internal/stripeevent"
	"entitled/internal/tracing"
)

// A tracer creates the spans of verified webhooks. Without a Tracer it creates none, writes no
// header and allocates nothing.
type tracer struct{ trace.Tracer }

func newTracer(p trace.TracerProvider) tracer {
	if p == nil {
		return tracer{}
	}
	return tracer{p.Tracer("entitled/internal/ingest")}
}

// A span may be absent: without a Span its methods do nothing.
type span struct{ trace.Span }

// webhook starts the trace of an event, at the arrival of the request. It is always a new trace:
// Stripe sends no trace context, and a stranger's must not be used. A refused request has no span,
// since strangers could create any number.
func (t tracer) webhook(ctx context.Context, arrived time.Time, e *stripeevent.Envelope) (context.Context, span) {
	if t.Tracer == nil {
		return ctx, span{}
	}
	attrs := append(make([]attribute.KeyValue, 0, 7), // room for all attributes
		attribute.String("http.request.method", http.MethodPost), attribute.String("http.route", Path),
		tracing.Event.String(e.ID), tracing.Type.String(e.Type), tracing.Mode.String(string(e.Mode())))
	if e.Account != "" {
		attrs = append(attrs, tracing.Account.String(e.Account))
	}
	if e.Customer != "" {
		attrs = append(attrs, tracing.Customer.String(e.Customer))
	}
	ctx, s := t.Start(ctx, http.MethodPost+" "+Path, trace.WithNewRoot(), trace.WithTimestamp(arrived),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
	return ctx, span{s}
}

// answered ends the span of a webhook.
func (s span) answered(status int, duplicate bool, err error) {
	if s.Span == nil {
		return
	}
	s.SetAttributes(attribute.Int("http.response.status_code", status), attribute.Bool("entitled.duplicate", duplicate))
	s.end(err)
}

// publish starts the span of the publishing of a message, and writes its context into the message's
// headers.
func (t tracer) publish(ctx context.Context, stream string, m *nats.Msg) span {
	if t.Tracer == nil {
		return span{}
	}
	ctx, s := t.Start(ctx, "publish "+stream, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(tracing.Message("publish", stream)...))
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	tracing.Inject(ctx, m.Header)
	return span{s}
}

// stored ends the span of a message.
func (s span) stored(sequence uint64, err error) {
	if s.Span == nil {
		return
	}
	if sequence != 0 {
		s.SetAttributes(tracing.Sequence.Int64(int64(sequence)))
	}
	s.end(err)
}

func (s span) end(err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
	s.End()
}
