package tracing

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
)

func TestThereAndBack(t *testing.T) {
	t.Parallel()
	state, err := trace.ParseTraceState("vendor=x")
	if err != nil {
		t.Fatal(err)
	}
	want := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	h := nats.Header{}
	Inject(trace.ContextWithSpanContext(t.Context(), want), h)
	if d := cmp.Diff(nats.Header{
		"traceparent": {"00-01020300000000000000000000000000-0405000000000000-01"},
		"tracestate":  {"vendor=x"},
	}, h); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	if got := trace.SpanContextFromContext(Extract(t.Context(), h)); !got.Equal(want.WithRemote(true)) {
		t.Errorf("extracted %+v, want %+v", got, want)
	}
}

// Any publisher may write anything into the headers.
func TestNoContext(t *testing.T) {
	t.Parallel()
	none := nats.Header{}
	Inject(t.Context(), none)
	if len(none) != 0 {
		t.Errorf("headers %v without a span", none)
	}
	for _, h := range []nats.Header{
		nil, {}, {"traceparent": nil}, {"traceparent": {""}}, {"traceparent": {"00-0-0-01"}},
		{"traceparent": {"00-00000000000000000000000000000000-0000000000000000-01"}},
	} {
		if got := trace.SpanContextFromContext(Extract(t.Context(), h)); got.IsValid() {
			t.Errorf("%v: extracted %+v", h, got)
		}
	}
}
