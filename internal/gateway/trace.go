package gateway

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// A tracer creates a span per request that has a route. Without a Tracer it creates none.
type tracer struct{ trace.Tracer }

func newTracer(p trace.TracerProvider) tracer {
	if p == nil {
		return tracer{}
	}
	return tracer{p.Tracer("entitled/internal/gateway")}
}

// A span may be absent: without a Span its methods do nothing.
type span struct{ trace.Span }

// start begins a new trace: a stranger's trace context must not be used. The attributes have the
// route, never the customer.
func (t tracer) start(r *http.Request, route string) span {
	if t.Tracer == nil || route == "" {
		return span{}
	}
	_, s := t.Start(context.WithoutCancel(r.Context()), r.Method+" "+route, trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route)))
	return span{s}
}

func (s span) end(status int) {
	if s.Span == nil {
		return
	}
	s.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		s.SetStatus(codes.Error, http.StatusText(status))
	}
	s.End()
}
