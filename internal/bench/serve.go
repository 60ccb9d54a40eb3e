package bench

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stripe/stripe-go/v76/webhook"

	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/sweep"
	"entitled/internal/timing"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

// serveNATS runs a nats-server with the settings of nats.conf, with or without its sync_interval.
func serveNATS(dir string, sync bool) (url string, stop func(), err error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, SyncAlways: sync, MaxPayload: 2 << 20, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return "", nil, err
	}
	srv.Start()
	stop = func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if !srv.ReadyForConnections(30 * time.Second) {
		stop()
		return "", nil, errors.New("nats-server: not ready within 30 s")
	}
	return srv.ClientURL(), stop, nil
}

// serveHTTP serves a handler on its own port, with timeouts like ingest's server, since they cost
// time.
func serveHTTP(h http.Handler) (addr string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
	}
	ended := make(chan struct{})
	go func() { // stop waits for it
		defer close(ended)
		_ = srv.Serve(ln) // ends with Close
	}()
	return ln.Addr().String(), func() {
		_ = srv.Close()
		<-ended
	}, nil
}

var received = []byte(`{"received":true}`)

func newGin() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	return gin.New()
}

// bareGin answers without looking, the least that a webhook can cost behind Gin.
func bareGin() http.Handler {
	r := newGin()
	r.POST(ingest.Path, func(c *gin.Context) {
		_, _ = io.Copy(io.Discard, c.Request.Body)
		c.Data(http.StatusOK, "application/json", received)
	})
	return r
}

// constructEvent verifies with stripe-go, and stores nothing.
func constructEvent() http.Handler {
	r := newGin()
	r.POST(ingest.Path, func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		if err == nil {
			_, err = webhook.ConstructEventWithOptions(body, c.GetHeader("Stripe-Signature"), signingSecret,
				webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
		}
		if err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.Data(http.StatusOK, "application/json", received)
	})
	return r
}

// serveIngest runs ingest like cmd/ingest, and returns when it is ready.
func serveIngest(url string) (addr string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var settings ingestd.Settings
	settings.MaxBody, settings.MaxBodies, settings.Tolerance, settings.PublishTimeout = "1 MiB", "64 MiB", "1h", "5s"
	check := &daemon.Checker{}
	in := settings.Check(check)
	in.Secrets = []string{signingSecret}
	in.Shared = shared(check)
	if err := check.Err(); err != nil {
		return "", nil, err
	}
	stop, err = serveDaemon(url, func(ctx context.Context, h wiring.Host) error { return in.Run(ctx, h, ln) })
	return ln.Addr().String(), stop, err
}

// serveSyncer runs a syncer like cmd/syncer, and returns when it is ready.
func serveSyncer(o order) (stop func(), err error) {
	y, err := o.syncer()
	if err != nil {
		return nil, err
	}
	return serveDaemon(o.NATS, y.Run)
}

// syncer returns a syncer's settings.
func (o order) syncer() (syncerd.Syncer, error) {
	settings := syncerd.Settings{Base: o.Stripe, Rate: strconv.Itoa(cmp.Or(o.Rate, syncRate)),
		CoverageEvery: "5m"}
	check := &daemon.Checker{}
	y := settings.Check(check, stripeKey)
	y.Shared = shared(check)
	if o.Quick {
		y.Timing = timing.Production.Divide(20)
	}
	return y, check.Err()
}

// serveBackfill runs a backfill like `entitled backfill`, and returns when it has begun.
func serveBackfill(o order) (addTo func(*report), stop func(), err error) {
	y, err := o.syncer()
	if err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect(o.NATS)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	operator, err := y.Operate(ctx, nc, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		nc.Close()
		return nil, nil, err
	}
	var mu sync.Mutex
	var end report
	ended := make(chan struct{})
	go func() { // stop waits for it
		defer close(ended)
		found, err := operator.Backfill(ctx, sweep.Options{})
		mu.Lock()
		defer mu.Unlock()
		end = report{Done: true, Took: time.Since(began), Requests: found.Requests, Customers: found.Created}
		if err != nil {
			end.Error = err.Error()
		}
	}()
	return func(r *report) {
			mu.Lock()
			defer mu.Unlock()
			r.Done, r.Took, r.Requests, r.Customers, r.Error = end.Done, end.Took, end.Requests, end.Customers,
				end.Error
		}, func() {
			cancel()
			<-ended
			nc.Close()
		}, nil
}

const (
	stripeKey = "sk_live_bench"
	// syncRate, in requests/s, is more than any row needs, so that Stripe's rate is not the limit.
	syncRate = 1000
)

func shared(c *daemon.Checker) wiring.Shared {
	var s wiring.SharedSettings
	s.Replicas, s.EventsMaxAge = "1", "90d"
	return s.Check(c)
}

// serveDaemon connects and runs a daemon until stop is called, and returns when its topology
// exists.
func serveDaemon(url string, run func(context.Context, wiring.Host) error) (stop func(), err error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}, 1), make(chan error, 1)
	h := wiring.Host{
		NATS: nc, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Ready: func(condition string, err error) {
			if condition == wiring.ReadyTopology && err == nil {
				select {
				case ready <- struct{}{}:
				default:
				}
			}
		},
	}
	go func() { ended <- run(ctx, h) }() // received by stop, or below
	select {
	case <-ready:
		return func() {
			cancel()
			<-ended
			nc.Close()
		}, nil
	case err := <-ended:
		cancel()
		nc.Close()
		return nil, err
	}
}
