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

	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/internal/tracing"
)

// A trace follows an event from the webhook to the write of the snapshot: ingest writes its context into the headers of the
// marker, and the sync goes on with it as the child of the marker's publishing. What carries no context - a scheduled
// check, a marker of a job or of an operator - begins a trace of its own. A marker that a newer one replaces takes its
// trace with it: that one ends at the publishing.

// A tracer makes the spans of syncs. One without a Tracer makes none.
type tracer struct{ trace.Tracer }

func newTracer(p trace.TracerProvider) tracer {
	if p == nil {
		return tracer{}
	}
	return tracer{p.Tracer("entitled/internal/syncer")}
}

// task starts the span of a task that came with these headers; ended by end. what is the stream or the subject that
// it came on.
func (tr tracer) task(ctx context.Context, kind trace.SpanKind, what string, h nats.Header, t task) (_ context.Context, end func()) {
	if tr.Tracer == nil {
		return ctx, func() {}
	}
	attrs := append(tracing.Message("process", what), tracing.Mode.String(string(t.customer.Mode)), tracing.Customer.String(t.customer.ID),
		attribute.String("entitled.trigger", t.cause.Trigger), attribute.String("entitled.lane", string(t.lane)))
	for _, a := range []struct {
		key   attribute.Key
		value string
	}{{tracing.Account, t.customer.Account}, {tracing.Event, t.cause.Event}, {tracing.Type, t.cause.Type}} {
		if a.value != "" {
			attrs = append(attrs, a.key.String(a.value))
		}
	}
	if t.seq != 0 {
		attrs = append(attrs, tracing.Sequence.Int64(int64(t.seq)))
	}
	ctx, s := tr.Start(tracing.Extract(ctx, h), "process "+what, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
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

// step starts a span within a task or a job; outside of both, and where that one is not sampled, there is none.
func (tr tracer) step(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
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
	_, s := tr.Start(ctx, "Stripe: "+o.Endpoint, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(end.Add(-o.Duration)),
		trace.WithAttributes(attribute.String("http.request.method", http.MethodGet), attribute.String("stripe.endpoint", o.Endpoint)))
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

// tell says on the task's span what its sync came to.
func tell(ctx context.Context, res synced, err error) {
	s := trace.SpanFromContext(ctx)
	switch {
	case !s.IsRecording():
	case err != nil:
		s.SetStatus(codes.Error, err.Error())
	case res.superseded:
		s.SetAttributes(attribute.Bool("entitled.superseded", true))
	default:
		s.SetAttributes(attribute.String("entitled.outcome", string(res.record.Outcome)), attribute.Int64("entitled.revision", int64(res.record.Revision)))
	}
}

// traceID is for the log: nothing without a trace.
func traceID(ctx context.Context) []any {
	if c := trace.SpanContextFromContext(ctx); c.IsSampled() {
		return []any{"trace_id", c.TraceID().String()}
	}
	return nil
}

// traced is the outside with a span for each step that takes its time.
type traced struct {
	outside
	tracer tracer
}

func (o traced) end(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
	s.End()
}

func (o traced) Place(ctx context.Context, kind stripeapi.Kind) error {
	ctx, s := o.tracer.step(ctx, "wait for the budget")
	err := o.outside.Place(ctx, kind)
	o.end(s, err)
	return err
}

func (o traced) Fetch(ctx context.Context, c stripeevent.Customer, place func(context.Context) error) (stripeapi.State, stripeapi.Trace, error) {
	ctx, s := o.tracer.step(ctx, "fetch")
	state, cost, err := o.outside.Fetch(ctx, c, place)
	o.end(s, err)
	return state, cost, err
}

func (o traced) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	ctx, s := o.tracer.step(ctx, "write snapshot")
	written, err := o.outside.WriteSnapshot(ctx, key, data, revision)
	s.SetAttributes(attribute.Int64("entitled.revision", int64(written)))
	o.end(s, err)
	return written, err
}

func (o traced) SetWake(ctx context.Context, c stripeevent.Customer, at time.Time) error {
	ctx, s := o.tracer.step(ctx, "schedule the next check")
	err := o.outside.SetWake(ctx, c, at)
	o.end(s, err)
	return err
}

func (o traced) AppendRecord(ctx context.Context, c stripeevent.Customer, r Record) error {
	ctx, s := o.tracer.step(ctx, "publish "+topology.SyncedStream, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(tracing.Message("publish", topology.SyncedStream)...))
	err := o.outside.AppendRecord(ctx, c, r)
	o.end(s, err)
	return err
}

// traced returns what the protocol works on: with spans, where there are any.
func (tr tracer) outside(o outside) outside {
	if tr.Tracer == nil {
		return o
	}
	return traced{o, tr}
}

// rest waits for a customer's pace.
func (tr tracer) rest(ctx context.Context, d time.Duration) error {
	ctx, s := tr.step(ctx, "wait for the pace")
	defer s.End()
	return sleep(ctx, d)
}
