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

// flushWithin bounds the export of the last spans at the end of a process.
const flushWithin = 3 * time.Second

// Traces exports the spans of a process. Nil exports none.
type Traces struct {
	provider *sdktrace.TracerProvider
	log      *slog.Logger
}

// Open returns the exporter of spans, nil if there is none. It does not connect: spans that cannot
// be exported are dropped, and nothing waits for them.
func (t Tracing) Open(ctx context.Context, log *slog.Logger) (*Traces, error) {
	if !t.on {
		return nil, nil
	}
	var options []otlptracehttp.Option // the exporter reads the others from the environment
	if t.endpoint == "" {
		// OpenTelemetry specifies http; the library would use https.
		t.endpoint = "http://localhost:4318"
		options = append(options, otlptracehttp.WithEndpointURL(t.endpoint+"/v1/traces"))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	// Later options override earlier ones: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", t.service),
			attribute.String("service.version", Version())),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	log.Info("spans are exported", "endpoint", t.endpoint)
	return newTraces(exporter, res, log), nil
}

func newTraces(exporter sdktrace.SpanExporter, res *resource.Resource, log *slog.Logger) *Traces {
	return &Traces{
		provider: sdktrace.NewTracerProvider(sdktrace.WithResource(res),
			sdktrace.WithBatcher(&reporter{SpanExporter: exporter, log: log})),
		log: log,
	}
}

// Provider returns the tracer provider. It is nil if spans are not exported, so that callers can
// skip all work for traces.
func (t *Traces) Provider() trace.TracerProvider {
	if t == nil {
		return nil
	}
	return t.provider
}

// close exports the remaining spans.
func (t *Traces) close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("could not export the last spans", "err", err)
	}
}

// A reporter logs when the export of spans begins to fail, and when it works again. The SDK itself
// has only a process-wide error handler.
type reporter struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing bool // the SDK exports one batch at a time
}

func (r *reporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !r.failing:
		r.log.Warn("could not export spans, dropping them until the collector answers again",
			"spans", len(spans), "err", err)
	case err == nil && r.failing:
		r.log.Info("exporting spans again")
	}
	r.failing = err != nil
	return nil
}
