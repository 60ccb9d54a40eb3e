// Package spans has the span of each request of the gateway.
package spans

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// A Tracer creates a span per request that has a route. Without a provider it creates none.
type Tracer struct{ tracer trace.Tracer }

// New returns a Tracer; p may be nil.
func New(p trace.TracerProvider) Tracer {
	if p == nil {
		return Tracer{}
	}
	return Tracer{p.Tracer("entitled/internal/gateway")}
}

// A Span may be absent, and then its methods do nothing.
type Span struct{ span trace.Span }

// Start begins a new trace: a stranger's trace context must not be used. The attributes have the
// route, never the customer.
func (t Tracer) Start(r *http.Request, route string) Span {
	if t.tracer == nil || route == "" {
		return Span{}
	}
	_, s := t.tracer.Start(context.WithoutCancel(r.Context()), r.Method+" "+route, trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route)))
	return Span{s}
}

// End ends the span with the status of the answer.
func (s Span) End(status int) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, http.StatusText(status))
	}
	s.span.End()
}
