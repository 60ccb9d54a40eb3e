package syncer

import (
	"context"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/internal/tracing"
)

// A trace follows an event from the webhook to the write of the snapshot: ingest writes its context
// into the headers of the marker, and the sync's span is a child of the span that published the
// marker. A marker without a context, such as a wake's or a job's, begins a new trace. The trace of
// a replaced marker ends at its publishing.

// A tracer makes the spans of syncs; without a Tracer it makes none.
type tracer struct{ trace.Tracer }

func newTracer(p trace.TracerProvider) tracer {
	if p == nil {
		return tracer{}
	}
	return tracer{p.Tracer("entitled/internal/syncer")}
}

// task starts the span of a task that came with these headers; end ends it. what is the stream or
// subject on which it came.
func (tr tracer) task(ctx context.Context, kind trace.SpanKind, what string, h nats.Header,
	t protocol.Task) (_ context.Context, end func()) {
	if tr.Tracer == nil {
		return ctx, func() {}
	}
	attrs := append(tracing.Message("process", what), tracing.Mode.String(string(t.Customer.Mode)),
		tracing.Customer.String(t.Customer.ID),
		attribute.String("entitled.trigger", t.Cause.Trigger), attribute.String("entitled.lane", string(t.Lane)))
	for _, a := range []struct {
		key   attribute.Key
		value string
	}{{tracing.Account, t.Customer.Account}, {tracing.Event, t.Cause.Event}, {tracing.Type, t.Cause.Type}} {
		if a.value != "" {
			attrs = append(attrs, a.key.String(a.value))
		}
	}
	if t.Seq != 0 {
		attrs = append(attrs, tracing.Sequence.Int64(int64(t.Seq)))
	}
	ctx, s := tr.Start(tracing.Extract(ctx, h), "process "+what, trace.WithSpanKind(kind),
		trace.WithAttributes(attrs...))
	return ctx, func() { s.End() }
}

// job starts the span of a job.
func (tr tracer) job(ctx context.Context, name string) (_ context.Context, end func()) {
	if tr.Tracer == nil {
		return ctx, func() {}
	}
	ctx, s := tr.Start(ctx, "job "+name)
	return ctx, func() { s.End() }
}

// step starts a span within that of a task or a job, if that one is sampled.
func (tr tracer) step(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context,
	trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noop.Span{}
	}
	return tr.Start(ctx, name, options...)
}

// request makes the span of a request to Stripe that has just ended.
func (tr tracer) request(ctx context.Context, o stripeapi.Observation) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	end := time.Now()
	_, s := tr.Start(ctx, "Stripe: "+o.Endpoint, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(end.Add(-o.Duration)),
		trace.WithAttributes(attribute.String("http.request.method", http.MethodGet),
			attribute.String("stripe.endpoint", o.Endpoint)))
	if o.Status != 0 {
		s.SetAttributes(attribute.Int("http.response.status_code", o.Status))
	}
	if o.RequestID != "" {
		s.SetAttributes(attribute.String("stripe.request_id", o.RequestID))
	}
	switch {
	case o.Status == 0:
		s.SetStatus(codes.Error, "no answer")
	case o.Status >= http.StatusBadRequest:
		s.SetStatus(codes.Error, o.Reason)
	}
	s.End(trace.WithTimestamp(end))
}

// traceResult sets the result of a sync on the task's span.
func traceResult(ctx context.Context, res protocol.Result, err error) {
	s := trace.SpanFromContext(ctx)
	switch {
	case !s.IsRecording():
	case err != nil:
		s.SetStatus(codes.Error, err.Error())
	case res.Superseded:
		s.SetAttributes(attribute.Bool("entitled.superseded", true))
	default:
		s.SetAttributes(attribute.String("entitled.outcome", string(res.Record.Outcome)),
			attribute.Int64("entitled.revision", int64(res.Record.Revision)))
	}
}

// traceID returns the trace's attribute for the log, none without a trace.
func traceID(ctx context.Context) []any {
	if c := trace.SpanContextFromContext(ctx); c.IsSampled() {
		return []any{"trace_id", c.TraceID().String()}
	}
	return nil
}

// traced is the outside with a span for each step that may take long.
type traced struct {
	protocol.Outside
	tracer tracer
}

func (o traced) end(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
	s.End()
}

func (o traced) TakePermit(ctx context.Context, kind stripeapi.Kind) error {
	ctx, s := o.tracer.step(ctx, "wait for the budget")
	err := o.Outside.TakePermit(ctx, kind)
	o.end(s, err)
	return err
}

func (o traced) Fetch(ctx context.Context, c stripeevent.Customer, reading plans.Reading,
	permit func(context.Context) error) (stripeapi.State, stripeapi.Trace, error) {
	ctx, s := o.tracer.step(ctx, "fetch")
	state, cost, err := o.Outside.Fetch(ctx, c, reading, permit)
	o.end(s, err)
	return state, cost, err
}

func (o traced) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	ctx, s := o.tracer.step(ctx, "write snapshot")
	written, err := o.Outside.WriteSnapshot(ctx, key, data, revision)
	s.SetAttributes(attribute.Int64("entitled.revision", int64(written)))
	o.end(s, err)
	return written, err
}

func (o traced) SetWake(ctx context.Context, c stripeevent.Customer, at time.Time) error {
	ctx, s := o.tracer.step(ctx, "schedule the next check")
	err := o.Outside.SetWake(ctx, c, at)
	o.end(s, err)
	return err
}

func (o traced) AppendRecord(ctx context.Context, c stripeevent.Customer, r record.Record) error {
	ctx, s := o.tracer.step(ctx, "publish "+topology.SyncedStream, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(tracing.Message("publish", topology.SyncedStream)...))
	err := o.Outside.AppendRecord(ctx, c, r)
	o.end(s, err)
	return err
}

// outside returns the protocol's outside, traced if there is a Tracer.
func (tr tracer) outside(o protocol.Outside) protocol.Outside {
	if tr.Tracer == nil {
		return o
	}
	return traced{o, tr}
}

// pause waits for a customer's pace.
func (tr tracer) pause(ctx context.Context, d time.Duration) error {
	ctx, s := tr.step(ctx, "wait for the pace")
	defer s.End()
	return protocol.Sleep(ctx, d)
}
