package wiring_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stripe/stripe-go/v76/webhook"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"entitled/internal/daemon"
	"entitled/internal/daemon/daemontest"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	soon   = 30 * time.Second
	secret = "whsec_trace"
)

// A whole is both daemons, wired as in a program, with their own NATS and a simulated Stripe.
type whole struct {
	js       jetstream.JetStream
	sim      *stripesim.Sim
	webhooks string // URL of ingest
}

func startWhole(t *testing.T, traces trace.TracerProvider) *whole {
	t.Helper()
	srv := natstest.Run(t)
	sim := stripesim.New(stripesim.Config{Seed: 1})
	t.Cleanup(sim.Close)
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := daemon.Checker{Program: "test"}
	in := ingestd.Settings{MaxBody: "1 MiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "5s"}.Check(&c)
	sy := syncerd.Settings{Base: api.URL, Rate: "1000", CoverageEvery: "5m"}.Check(&c, "sk_test_trace")
	shared := wiring.SharedSettings{TopologySettings: wiring.TopologySettings{Replicas: "1",
		EventsMaxAge: "1d"}}.Check(&c)
	in.Secrets, in.Shared, sy.Shared = []string{secret}, shared, shared
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	ready := daemon.NewReadiness(slog.New(slog.DiscardHandler), "ingest "+wiring.ReadyTopology,
		"syncer "+wiring.ReadyTopology)
	host := func(name string) wiring.Host {
		return wiring.Host{
			NATS:    srv.Conn(t),
			Ready:   func(condition string, err error) { ready.Set(name+" "+condition, err) },
			Metrics: prometheus.NewRegistry(), Traces: traces,
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
	}
	ingestHost, syncerHost := host("ingest"), host("syncer")
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, run := range []func() error{
		func() error { return in.Run(ctx, ingestHost, public) },
		func() error { return sy.Run(ctx, syncerHost) },
	} {
		running.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { stop(); running.Wait() })
	waiting, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	if err := ready.Wait(waiting); err != nil {
		t.Fatal(err)
	}
	return &whole{js: srv.JetStream(t), sim: sim, webhooks: "http://" + public.Addr().String() + ingest.Path}
}

// subscribed creates a customer with a subscription that grants a feature.
func (w *whole) subscribed(t *testing.T, id string) {
	t.Helper()
	_, err := w.sim.CreateCustomer(stripesim.CustomerParams{ID: id})
	product, perr := w.sim.CreateProduct(stripesim.ProductParams{Name: "Pro", Features: []string{"sso"}})
	price, cerr := w.sim.CreatePrice(stripesim.PriceParams{Product: product})
	_, serr := w.sim.CreateSubscription(stripesim.SubscriptionParams{
		Customer: id, Items: []stripesim.ItemParams{{Price: price}},
	})
	if err := errors.Join(err, perr, cerr, serr); err != nil {
		t.Fatal(err)
	}
}

// send delivers one webhook of the customer, through a proxy that has its own trace.
func (w *whole) send(t *testing.T, customer string) {
	t.Helper()
	body := fmt.Sprintf(`{"id":"evt_1","object":"event","type":"customer.subscription.updated","created":1,"livemode":false,
		"data":{"object":{"id":"sub_1","object":"subscription","customer":%q}}}`, customer)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.webhooks, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Stripe-Signature", webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{
		Payload: []byte(body), Secret: secret, Timestamp: time.Now(),
	}).Header)
	r.Header.Set("traceparent", "00-11111111111111111111111111111111-2222222222222222-01")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck
	if res.StatusCode != http.StatusOK {
		t.Fatalf("answered %s", res.Status)
	}
}

func (w *whole) last(t *testing.T, stream, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	var m *jetstream.RawStreamMsg
	natstest.Eventually(t, soon, func() error {
		s, err := w.js.Stream(t.Context(), stream)
		if err != nil {
			return err
		}
		m, err = s.GetLastMsgForSubject(t.Context(), subject)
		return err
	})
	return m
}

// One webhook is one trace, from its arrival to the write of the snapshot, apart from the sender's.
func TestOneWebhookIsOneTrace(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	w := startWhole(t, sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)))
	w.subscribed(t, "cus_trace")
	w.send(t, "cus_trace")
	var spans tracetest.SpanStubs
	natstest.Eventually(t, soon, func() error {
		spans = exporter.GetSpans()
		for _, name := range []string{"POST " + ingest.Path, "process STRIPE_SYNC"} {
			if !slices.ContainsFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == name }) {
				return fmt.Errorf("%s has not ended", name)
			}
		}
		return nil
	})
	root := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.SpanKind == trace.SpanKindServer })
	whole := spans[root].SpanContext.TraceID()
	daemontest.Golden(t, "trace.txt", tree(spans, whole), *update) // tree sorts them

	// The stored event keeps its context; the wake, months later, has none.
	event := w.last(t, topology.EventsStream, "stripe.event.test.self.cus_trace.customer.subscription.updated")
	if got, want := event.Header.Get("traceparent"), whole.String(); !strings.Contains(got, want) {
		t.Errorf("traceparent of the event: %q, want trace %s", got, want)
	}
	wake := w.last(t, topology.SyncStream, stripeevent.WakeSubject(stripeevent.Customer{Mode: "test", ID: "cus_trace"}))
	if wake.Header.Get("traceparent") != "" {
		t.Errorf("headers of the scheduled check: %v, want no trace", wake.Header)
	}
}

// volatile are attributes whose values differ in each run.
var volatile = map[attribute.Key]string{"nats.stream_seq": "n", "stripe.request_id": "req_…", "entitled.revision": "n"}

// tree formats one trace: children below their parents, in the order of their start.
func tree(spans tracetest.SpanStubs, id trace.TraceID) string {
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	known := map[trace.SpanID]bool{}
	for _, s := range spans {
		known[s.SpanContext.SpanID()] = true
	}
	var b strings.Builder
	var draw func(parent trace.SpanID, depth int)
	draw = func(parent trace.SpanID, depth int) {
		for _, s := range spans {
			if s.SpanContext.TraceID() != id || s.Parent.SpanID() != parent && (depth > 0 || known[s.Parent.SpanID()]) {
				continue
			}
			indent := strings.Repeat("  ", depth)
			fmt.Fprintf(&b, "%s%s (%s)", indent, s.Name, s.SpanKind)
			if s.Status.Code == codes.Error {
				fmt.Fprintf(&b, " error: %s", s.Status.Description)
			}
			b.WriteByte('\n')
			slices.SortFunc(s.Attributes, func(a, b attribute.KeyValue) int { return cmp.Compare(a.Key, b.Key) })
			for _, a := range s.Attributes {
				v, masked := volatile[a.Key]
				if !masked {
					v = a.Value.String()
				}
				fmt.Fprintf(&b, "%s    %s=%s\n", indent, a.Key, v)
			}
			draw(s.SpanContext.SpanID(), depth+1)
		}
	}
	draw(trace.SpanID{}, 0)
	return b.String()
}

// Without an exporter nothing is written to a message that was not written before.
func TestNoTracesByDefault(t *testing.T) {
	t.Parallel()
	w := startWhole(t, nil)
	w.subscribed(t, "cus_plain")
	// Plain subscribers see the messages as they go into the streams.
	nc := w.js.Conn()
	events, err := nc.SubscribeSync("stripe.event.>")
	markers, merr := nc.SubscribeSync("stripe.sync.>")
	if err := errors.Join(err, merr); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	w.send(t, "cus_plain")
	event, err := events.NextMsg(soon)
	marker, merr := markers.NextMsg(soon)
	if err := errors.Join(err, merr); err != nil {
		t.Fatal(err)
	}
	if len(marker.Header) != 0 {
		t.Errorf("headers of the marker: %v, want none", marker.Header)
	}
	for k := range event.Header {
		if k != jetstream.MsgIDHeader && k != stripeevent.DigestHeader {
			t.Errorf("header %s of the event: %v", k, event.Header[k])
		}
	}
}
