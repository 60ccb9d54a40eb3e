package daemon

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func TestTracingIsOffUntilAsked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		env map[string]string
		on  bool
	}{
		{nil, false},
		{map[string]string{"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "nonsense of a neighbour's"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"},
			false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true},
	} {
		c := Checker{Program: "test"}
		tracing := c.Tracing(func(name string) string { return tc.env[name] }, "test")
		if err := c.Err(); err != nil || tracing.on != tc.on {
			t.Errorf("%v: on %v, error %v; want on %v", tc.env, tracing.on, err, tc.on)
		}
		if traces, err := (Tracing{}).Open(t.Context(), slog.New(slog.DiscardHandler)); traces.Provider() != nil ||
			err != nil {
			t.Errorf("switched off there is a provider %v, error %v", traces.Provider(), err)
		}
	}
}

func TestBadTracingSettings(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"OTEL_TRACES_EXPORTER": "jaeger", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
		"OTEL_EXPORTER_OTLP_PROTOCOL":           "grpc",
		"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "zstd", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s",
		"OTEL_EXPORTER_OTLP_HEADERS":     "api-key=topsecret,topsecret",
		"OTEL_EXPORTER_OTLP_CERTIFICATE": "no/such.pem", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
		"OTEL_TRACES_SAMPLER_ARG": "10%",
		"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_RESOURCE_ATTRIBUTES": "env:prod",
	}
	c := Checker{Program: "ingest"}
	c.Tracing(func(name string) string { return env[name] }, "ingest")
	err := c.Err()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	if strings.Contains(err.Error(), "topsecret") {
		t.Error("a secret is printed")
	}
	golden(t, "bad-tracing.txt", err.Error())
}

// A hanging collector does not delay the end, and a failing one is logged once.
func TestTracesThatGoNowhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		released := make(chan struct{})
		defer close(released) // lets the SDK's goroutines end
		traces := newTraces(stuck{released}, resource.Empty(), slog.New(slog.NewTextHandler(&out, nil)))
		_, span := traces.Provider().Tracer("test").Start(t.Context(), "work")
		span.End()
		began := time.Now()
		traces.close(t.Context())
		if took := time.Since(began); took > flushWithin {
			t.Errorf("closing took %s, want %s at most", took, flushWithin)
		}
		if !strings.Contains(out.String(), "spans") {
			t.Errorf("the log does not say that spans are missing: %s", &out)
		}
	})
}

// stuck is an exporter that hangs.
type stuck struct{ released chan struct{} }

func (s stuck) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-s.released
	return nil
}
func (stuck) Shutdown(context.Context) error { return nil }

// answers are the results of consecutive exports.
type answers []error

func (a *answers) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) (err error) {
	err, *a = (*a)[0], (*a)[1:]
	return err
}
func (*answers) Shutdown(context.Context) error { return nil }

func TestFailingExportIsSaidOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	away := errors.New("collector is away")
	r := &reporter{SpanExporter: &answers{away, away, nil, nil, away},
		log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}
	for range 5 {
		if err := r.ExportSpans(t.Context(), nil); err != nil {
			t.Errorf("the SDK got %v", err)
		}
	}
	want := `level=WARN msg="could not export spans, dropping them until the collector answers again" spans=0 err="collector is away"
level=INFO msg="exporting spans again"
level=WARN msg="could not export spans, dropping them until the collector answers again" spans=0 err="collector is away"
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
