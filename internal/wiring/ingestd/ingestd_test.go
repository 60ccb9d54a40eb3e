package ingestd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/daemon"
	"entitled/internal/natstest"
	"entitled/internal/topology"
	"entitled/internal/wiring"
)

// condition records the last report of a condition and the number of reports.
type condition struct {
	mu    sync.Mutex
	err   error
	times int
}

func (x *condition) report(_ string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err, x.times = err, x.times+1
}

func (x *condition) last() (times int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.times, x.err
}

// A ready ingest keeps checking: it recreates deleted streams, is unready without NATS, and is
// ready with streams that only differ.
func TestIngestStaysTruthful(t *testing.T) {
	t.Parallel()
	const soon = 30 * time.Second
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	nc := srv.Conn(t)
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := daemon.Checker{Program: "test"}
	in := Settings{MaxBody: "512 KiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "5s"}.Check(&c)
	in.Shared = wiring.SharedSettings{TopologySettings: wiring.TopologySettings{Replicas: "1",
		EventsMaxAge: "1d"}}.Check(&c)
	in.Secrets, in.lookEvery = []string{"whsec_x"}, 20*time.Millisecond
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var ready condition
	ended := make(chan error, 1)
	go func() { // received below
		ended <- in.Run(ctx, wiring.Host{NATS: nc, Ready: ready.report, Metrics: prometheus.NewRegistry(),
			Log: slog.New(slog.DiscardHandler)}, public)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	// looks waits for the second check from now, since the first may have begun before.
	looks := func(want string, fits func(error) bool) {
		t.Helper()
		since, _ := ready.last()
		natstest.Eventually(t, soon, func() error {
			if times, err := ready.last(); times < since+2 || !fits(err) {
				return fmt.Errorf("condition topology: %v; want %s", err, want)
			}
			return nil
		})
	}
	well := func(err error) bool { return err == nil }
	looks("readiness", well)

	if err := js.DeleteStream(t.Context(), topology.EventsStream); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, soon, func() error {
		_, err := js.Stream(t.Context(), topology.EventsStream)
		return err
	})
	looks("readiness, with the stream recreated", well)

	s, err := js.Stream(t.Context(), topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	differs := s.CachedInfo().Config
	differs.MaxAge = 48 * time.Hour
	if _, err := js.UpdateStream(t.Context(), differs); err != nil {
		t.Fatal(err)
	}
	looks("readiness, although the stream differs", well)

	// A stream that other data refers to is not recreated.
	bucket, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "KV_entitlements_test", Subjects: []string{"$KV.entitlements_test.>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), topology.EventsStream); err != nil {
		t.Fatal(err)
	}
	looks("that the log is gone", func(err error) bool {
		return err != nil &&
			strings.Contains(err.Error(), "stream STRIPE_EVENTS is missing, but bucket entitlements_test is there")
	})
	if err := js.DeleteStream(t.Context(), bucket.CachedInfo().Config.Name); err != nil {
		t.Fatal(err)
	}
	looks("readiness, with the log recreated", well)

	srv.Shutdown()
	looks("why it cannot store", func(err error) bool { return err != nil })
	srv.Restart()
	looks("readiness again", well)
}
