package ingest

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stripe/stripe-go/v76/webhook"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"entitled/internal/natstest"
)

// yardsticks are the handlers that ingest is compared with: one answers without looking, the other
// verifies with stripe-go and stores nothing.
func yardsticks() map[string]http.Handler {
	bare := gin.New()
	bare.POST(Path, func(c *gin.Context) {
		_, _ = io.Copy(io.Discard, c.Request.Body)
		c.Data(http.StatusOK, "application/json", []byte(`{"received":true}`))
	})
	construct := gin.New()
	construct.POST(Path, func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		if err == nil {
			_, err = webhook.ConstructEventWithOptions(body, c.GetHeader("Stripe-Signature"), secret,
				webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
		}
		if err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.Data(http.StatusOK, "application/json", []byte(`{"received":true}`))
	})
	return map[string]http.Handler{"bare_gin": bare, "construct_event": construct}
}

// ackedPublisher costs almost nothing, which leaves the work of ingest.
type ackedPublisher struct{}

func (ackedPublisher) PublishMsgAsync(*nats.Msg, ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	return acked(), nil
}

// BenchmarkHandler measures the handlers without network and NATS.
func BenchmarkHandler(b *testing.B) {
	body := []byte(fixture(b, "customer.subscription.updated"))
	header := sign(string(body), secret, time.Now())
	in, err := New(Config{
		Publisher: ackedPublisher{}, Secrets: []string{secret}, Types: defaultTypes(b), Tolerance: time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	handlers := yardsticks()
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	defer traces.Shutdown(b.Context()) //nolint:errcheck // nothing is exported
	withTraces, err := New(Config{
		Publisher: ackedPublisher{}, Secrets: []string{secret}, Types: defaultTypes(b), Tolerance: time.Hour,
		Traces: traces,
	})
	if err != nil {
		b.Fatal(err)
	}
	handlers["ingest"], handlers["ingest_traced"] = in.Handler(), withTraces.Handler()
	for _, name := range []string{"bare_gin", "construct_event", "ingest", "ingest_traced"} {
		h := handlers[name]
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodPost, Path, nil)
			r.Header.Set("Stripe-Signature", header)
			r.ContentLength = int64(len(body))
			reader := bytes.NewReader(body)
			w := discard{http.Header{}}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				reader.Reset(body)
				r.Body = io.NopCloser(reader)
				h.ServeHTTP(w, r)
			}
		})
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(status int) {
	if status != http.StatusOK {
		panic(status)
	}
}

// BenchmarkDoor measures the verification, and stripe-go's for comparison.
func BenchmarkDoor(b *testing.B) {
	body := []byte(fixture(b, "customer.subscription.updated"))
	header := sign(string(body), secret, time.Now())
	d := door{secrets: []string{secret}, tolerance: time.Hour, now: time.Now}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if c := cmp.Or(d.precheck(header), d.verify(body, header)); c != "" {
			b.Fatal(c)
		}
	}
}

// BenchmarkServed sends requests over loopback from 64 connections; load generator, server and NATS
// share the process. Compare only lines of one run. cpu-ns/op, the work of all three, varies least
// with the other load of the machine.
func BenchmarkServed(b *testing.B) {
	// Enough events that none repeats within the deduplication window.
	type webhook struct {
		body      []byte
		signature []string
	}
	template := fixture(b, "customer.subscription.updated")
	webhooks := make([]webhook, 4096)
	for i := range webhooks {
		body := strings.Replace(template, "SubUpd01", fmt.Sprintf("%08d", i), 1)
		body = strings.ReplaceAll(body, aCustomer, fmt.Sprintf("cus_%014d", i%1000))
		webhooks[i] = webhook{[]byte(body), []string{sign(body, secret, time.Now())}}
	}
	for _, name := range []string{"bare_gin", "construct_event", "ingest", "ingest_sync_always"} {
		b.Run(name, func(b *testing.B) {
			h, ok := yardsticks()[name]
			if !ok {
				h = served(b, name == "ingest_sync_always")
			}
			srv := httptest.NewServer(h)
			defer srv.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			var sent atomic.Uint64
			b.SetParallelism(32) // times GOMAXPROCS
			b.ReportAllocs()
			b.ResetTimer()
			cpu := processCPU(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					wh := &webhooks[sent.Add(1)%uint64(len(webhooks))]
					r, err := http.NewRequest(http.MethodPost, srv.URL+Path, bytes.NewReader(wh.body))
					if err != nil {
						b.Error(err)
						return
					}
					r.Header["Stripe-Signature"] = wh.signature
					res, err := client.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusOK {
						b.Errorf("answer %d", res.StatusCode)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			b.ReportMetric(float64((processCPU(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// served is an ingest in front of a real NATS with a short deduplication window.
func served(b *testing.B, sync bool) http.Handler {
	b.Helper()
	var options []natstest.Option
	if sync {
		options = append(options, natstest.SyncAlways)
	}
	s := natstest.Run(b, options...)
	nc := s.Conn(b)
	js, err := NewPublisher(nc, 5*time.Second)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: "STRIPE_EVENTS", Subjects: []string{"stripe.event.>"}, Duplicates: 100 * time.Millisecond,
			Compression: jetstream.NoCompression, AllowAtomicPublish: true},
		{Name: "STRIPE_SYNC", Subjects: []string{"stripe.sync.>"}, Retention: jetstream.WorkQueuePolicy,
			MaxMsgsPerSubject: 1, PersistMode: jetstream.AsyncPersistMode},
	} {
		if _, err := js.CreateStream(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	in, err := New(Config{
		Publisher: js, Conn: nc, Secrets: []string{secret}, Types: defaultTypes(b), Tolerance: time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	return in.Handler()
}

// processCPU returns the user and system time of this process.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
