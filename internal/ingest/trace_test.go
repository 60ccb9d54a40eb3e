package ingest

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"entitled/internal/stripeevent"
)

func traced(exporter *tracetest.InMemoryExporter) func(*Config) {
	return func(c *Config) { c.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)) }
}

// A stranger's requests cannot fill the trace store.
func TestRefusedLeavesNoSpan(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	b := setup(t, traced(exporter))
	forged := post(`{"id":"evt_1","type":"invoice.paid"}`, sign(`{}`, "whsec_forged", time.Now()))
	expect(t, b.handler, forged, http.StatusBadRequest, `{"error":"signature_invalid"}`)
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("%d spans of a forged webhook: %v", len(spans), spans)
	}
}

// silentPublisher never gets a PubAck.
type silentPublisher struct{}

func (silentPublisher) PublishMsgAsync(*nats.Msg, ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	return nil, jetstream.ErrTooManyStalledMsgs
}

func TestSpansOfAWebhookNotStored(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	b := setup(t, func(c *Config) { traced(exporter)(c); c.Publisher = silentPublisher{} })
	expect(t, b.handler, signed(fixture(t, "invoice.paid")), http.StatusServiceUnavailable, `{"error":"not_stored"}`)
	failed := map[string]codes.Code{}
	for _, s := range exporter.GetSpans() {
		failed[s.Name] = s.Status.Code
	}
	for _, name := range []string{"publish STRIPE_EVENTS", "POST " + Path} {
		if failed[name] != codes.Error {
			t.Errorf("span %q: status %v, want an error; all: %v", name, failed[name], failed)
		}
	}
}

// Not parallel: testing.AllocsPerRun counts the allocations of the whole process.
func TestTracesThatAreOffCostNothing(t *testing.T) {
	var off tracer
	ctx, arrived, e, m := t.Context(), time.Now(),
		&stripeevent.Envelope{ID: "evt_1", Type: "invoice.paid", Customer: "cus_1"}, nats.NewMsg("x")
	if n := testing.AllocsPerRun(100, func() {
		ctx, whole := off.webhook(ctx, arrived, e)
		off.publish(ctx, "STRIPE_EVENTS", m).stored(0, nil)
		whole.answered(http.StatusOK, false, nil)
	}); n != 0 || len(m.Header) != 0 {
		t.Errorf("%v allocations and headers %v, want none", n, m.Header)
	}
}
