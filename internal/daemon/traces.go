package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushWithin bounds how long the end of a process waits for its last spans to be exported.
const flushWithin = 3 * time.Second

// Traces is where the spans of a process go. Nil is nowhere.
type Traces struct {
	provider *sdktrace.TracerProvider
	log      *slog.Logger
}

// Open returns where spans go, nil if nowhere. It connects to nobody: spans that cannot be exported are dropped, and
// nothing waits for them.
func (t Tracing) Open(ctx context.Context, log *slog.Logger) (*Traces, error) {
	if !t.on {
		return nil, nil
	}
	var options []otlptracehttp.Option // the rest is in the environment
	if t.endpoint == "" {
		// As OpenTelemetry specifies it; the library would try https.
		t.endpoint = "http://localhost:4318"
		options = append(options, otlptracehttp.WithEndpointURL(t.endpoint+"/v1/traces"))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	// What comes later wins: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", t.service), attribute.String("service.version", Version())),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	log.Info("spans are exported", "endpoint", t.endpoint)
	return newTraces(exporter, res, log), nil
}

func newTraces(exporter sdktrace.SpanExporter, res *resource.Resource, log *slog.Logger) *Traces {
	return &Traces{
		provider: sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(&reporter{SpanExporter: exporter, log: log})),
		log:      log,
	}
}

// Provider makes tracers. It is nil if spans go nowhere, so that whoever asks can spare all that tracing costs.
func (t *Traces) Provider() trace.TracerProvider {
	if t == nil {
		return nil
	}
	return t.provider
}

// close exports what is left.
func (t *Traces) close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans may not have been exported", "err", err)
	}
}

// A reporter logs when spans cannot be exported, and when they can again. The SDK knows only a handler of the whole
// process's for that.
type reporter struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing bool // the SDK exports one batch at a time
}

func (r *reporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !r.failing:
		r.log.Warn("spans not exported, and dropped; said once until it works again", "spans", len(spans), "err", err)
	case err == nil && r.failing:
		r.log.Info("spans are exported again")
	}
	r.failing = err != nil
	return nil
}
