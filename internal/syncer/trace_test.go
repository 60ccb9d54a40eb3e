package syncer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// traceparent is a context in which a marker was published, of one of a few traces.
func traceparent(n int) (traceID, header string) {
	traceID = fmt.Sprintf("%032x", n)
	return traceID, "00-" + traceID + "-00000000000000ab-01"
}

func (r *rig) markTraced(c stripeevent.Customer, header string) {
	r.t.Helper()
	m := nats.NewMsg(stripeevent.SyncSubject(stripeevent.Now, c))
	m.Header.Set("traceparent", header)
	m.Data = stripeevent.EncodeMarker(entitlement.Cause{Trigger: stripeevent.TriggerWebhook, Event: "evt_1"})
	if _, err := r.js.PublishMsg(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

// spansOf waits for spans of that name and returns them.
func spansOf(t *testing.T, exporter *tracetest.InMemoryExporter, name string, n int) []tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	natstest.Eventually(t, patience, func() error {
		found = slices.DeleteFunc(exporter.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != name })
		if len(found) < n {
			return fmt.Errorf("%d spans %q, want %d", len(found), name, n)
		}
		return nil
	})
	return found
}

// A replaced marker takes its trace along: the sync goes on with the newer one's, and a third that
// comes while the pace lasts shows the wait.
func TestSyncContinuesTheNewestMarkersTrace(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	r := newRig(t, func(cfg *Config) { cfg.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)) })
	c := r.customer()
	r.subscribe(c)
	_, older := traceparent(1)
	newerID, newer := traceparent(2)
	r.markTraced(c, older)
	r.markTraced(c, newer)
	r.start()
	s := spansOf(t, exporter, "process STRIPE_SYNC", 1)[0]
	if s.SpanContext.TraceID().String() != newerID || !s.Parent.IsRemote() ||
		s.Parent.SpanID().String() != "00000000000000ab" {
		t.Errorf("the sync is of trace %s below %s, want trace %s below its publishing", s.SpanContext.TraceID(),
			s.Parent.SpanID(), newerID)
	}
	// As long a claim as there is, so that the third comes within it on a busy machine too.
	store := r.operator(quiet).s.store
	_, revision, err := store.Claim(t.Context(), c.Key())
	if err == nil {
		err = store.SetClaim(t.Context(), c.Key(),
			protocol.Claim{StartedAt: time.Now(), Window: 8 * time.Second}, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	thirdID, third := traceparent(3)
	r.markTraced(c, third)
	s = spansOf(t, exporter, "process STRIPE_SYNC", 2)[1]
	if s.SpanContext.TraceID().String() != thirdID {
		t.Errorf("the second sync is of trace %s, want %s", s.SpanContext.TraceID(), thirdID)
	}
	for _, s := range exporter.GetSpans() {
		if s.SpanContext.TraceID().String() == strings.Repeat("0", 31)+"1" {
			t.Errorf("span %q of the replaced marker's trace", s.Name)
		}
	}
	paced, fetched := spansOf(t, exporter, "wait for the pace", 1)[0], spansOf(t, exporter, "fetch", 2)[1]
	if paced.Parent.SpanID() != s.SpanContext.SpanID() || fetched.Parent.SpanID() != s.SpanContext.SpanID() ||
		paced.EndTime.After(fetched.StartTime) {
		t.Errorf("pace: %s to %s below %s, fetch from %s below %s; want the wait, and then the fetch, below %s",
			paced.StartTime, paced.EndTime, paced.Parent.SpanID(), fetched.StartTime, fetched.Parent.SpanID(),
			s.SpanContext.SpanID())
	}
}

// safeBuffer is written by a syncer's goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A sync that failed is found in the traces by its line in the log, and names the request.
func TestFailedSyncNamesItsTrace(t *testing.T) {
	t.Parallel()
	exporter, logged := tracetest.NewInMemoryExporter(), &safeBuffer{}
	r := newRig(t, func(cfg *Config) {
		cfg.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		cfg.Log = slog.New(slog.NewTextHandler(logged, nil))
	})
	c := r.customer()
	r.subscribe(c)
	r.sim.SetFaults(stripesim.Faults{Only: []string{"GET /v1/subscriptions"}, Error500: 1})
	r.start()
	id, header := traceparent(7)
	r.markTraced(c, header)
	s := spansOf(t, exporter, "process STRIPE_SYNC", 1)[0]
	if s.Status.Code != codes.Error || !strings.Contains(s.Status.Description, "list subscriptions: 500") {
		t.Errorf("status of the sync %+v, want the error", s.Status)
	}
	request := spansOf(t, exporter, "Stripe: list subscriptions", 1)[0]
	if request.Status.Code != codes.Error || request.SpanContext.TraceID().String() != id {
		t.Errorf("request: status %+v of trace %s, want an error of trace %s", request.Status,
			request.SpanContext.TraceID(), id)
	}
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(logged.String(), "trace_id="+id) {
			return errors.New("no line has the trace: " + logged.String())
		}
		return nil
	})
}

// A request with a trace context continues that trace; one without begins a new one.
func TestRequestContinuesTheAppsTrace(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	r := newRig(t, func(cfg *Config) { cfg.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)) })
	c := r.customer()
	r.subscribe(c)
	r.start()
	id, header := traceparent(9)
	m := nats.NewMsg(entitlement.SyncSubject(entitlement.Test))
	m.Header.Set("traceparent", header)
	m.Data = []byte(`{"customer":"` + c.ID + `"}`)
	natstest.Eventually(t, patience, func() error {
		_, err := r.srv.Conn(t).RequestMsg(m, 10*time.Second)
		return err
	})
	if s := spansOf(t, exporter, "process entitled.sync.test", 1)[0]; s.SpanContext.TraceID().String() != id {
		t.Errorf("the request is of trace %s, want %s", s.SpanContext.TraceID(), id)
	}
	if s := spansOf(t, exporter, "job coverage", 1)[0]; s.Parent.IsValid() || s.SpanContext.TraceID().String() == id {
		t.Errorf("the job is of trace %s below %s, want one of its own", s.SpanContext.TraceID(), s.Parent.SpanID())
	}
}
