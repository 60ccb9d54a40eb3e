package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func readyz(r *Readiness) (int, string) {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	return w.Code, w.Body.String()
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	r := NewReadiness(slog.New(slog.DiscardHandler), "nats", "topology")
	type answer struct {
		Code      int
		Body, Err string
	}
	check := func(want answer) {
		t.Helper()
		code, body := readyz(r)
		if d := cmp.Diff(want, answer{code, body, text(r.Err())}); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	check(answer{
		503, `{"ready":false,"conditions":{"nats":"not yet","topology":"not yet"}}` + "\n",
		"nats: not yet; topology: not yet",
	})
	r.Set("nats", nil)
	check(answer{503, `{"ready":false,"conditions":{"nats":"ok","topology":"not yet"}}` + "\n", "topology: not yet"})
	r.Set("topology", nil)
	check(answer{200, `{"ready":true,"conditions":{"nats":"ok","topology":"ok"}}` + "\n", "ok"})
	r.Set("stripe", errors.New("the key lacks rak_subscription_read"))
	check(answer{503,
		`{"ready":false,"conditions":{"nats":"ok","stripe":"the key lacks rak_subscription_read","topology":"ok"}}` +
			"\n",
		"stripe: the key lacks rak_subscription_read"})

	want := `# HELP entitled_ready 1 if the condition of readiness holds, else 0.
# TYPE entitled_ready gauge
entitled_ready{condition="nats"} 1
entitled_ready{condition="stripe"} 0
entitled_ready{condition="topology"} 1
`
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(r)
	w := httptest.NewRecorder()
	admin{ready: r, metrics: metrics, log: slog.New(slog.DiscardHandler)}.handler().ServeHTTP(w,
		httptest.NewRequest("GET", "/metrics", nil))
	if d := cmp.Diff(want, w.Body.String()); d != "" {
		t.Errorf("/metrics (-want +got):\n%s", d)
	}
}

func TestReadinessLogsEachChangeOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := NewReadiness(slog.New(slog.NewTextHandler(&out,
		&slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})), "nats", "topology")
	for range 2 {
		r.Set("topology", errors.New("no stream"))
		r.Set("topology", errors.New("no stream")) // equal in text, another value
	}
	r.Set("nats", nil)
	r.Set("topology", nil)
	r.Set("nats", nil)
	r.Set("nats", errors.New("away"))
	want := `level=WARN msg="not ready" condition=topology err="no stream"
level=INFO msg="condition met" condition=nats
level=INFO msg=ready
level=WARN msg="not ready" condition=nats err=away
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadinessWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewReadiness(slog.New(slog.DiscardHandler), "nats", "topology")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := r.Wait(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "topology: not yet") {
			t.Errorf("wait that times out: %v", err)
		}

		done := make(chan error, 1)
		go func() { done <- r.Wait(t.Context()) }() // received from below
		r.Set("nats", nil)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("returned while not ready: %v", err)
		default:
		}
		r.Set("topology", nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestReadinessConcurrently(t *testing.T) {
	t.Parallel()
	r := NewReadiness(slog.New(slog.DiscardHandler), "0")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				r.Set(strconv.Itoa(i), errors.New("no"))
				readyz(r)
				r.Set(strconv.Itoa(i), nil)
				collect(r)
			}
		})
	}
	if err := r.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func collect(c prometheus.Collector) {
	ch := make(chan prometheus.Metric, 16)
	c.Collect(ch)
}

// A program that works without NATS is ready without it, and shows that it is away.
func TestReadyWithoutNATS(t *testing.T) {
	t.Parallel()
	r := NewReadiness(slog.New(slog.DiscardHandler), "topology")
	r.WithoutNATS()
	r.Set(conditionNATS, errors.New("disconnected"))
	if err := r.Err(); err == nil || strings.Contains(err.Error(), "disconnected") {
		t.Errorf("before the other condition holds: %v", err)
	}
	r.Set("topology", nil)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, nil)
	if err := r.Err(); err != nil || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "disconnected") {
		t.Errorf("%v; %d %s", err, w.Code, w.Body)
	}
}
