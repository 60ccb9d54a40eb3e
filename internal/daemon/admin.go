package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Listen opens the TCP listener of a setting. The error names the setting.
func Listen(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil,
			fmt.Errorf("%s: %w; another program has it, or another copy of this one: stop that, or choose another "+
				"port with %s",
				setting, err, FlagOf(setting))
	}
	return nil, fmt.Errorf("%s: %w; choose an address of this machine with %s", setting, err, FlagOf(setting))
}

// admin serves monitoring and orchestration:
//
//	/healthz  200 "ok": the process is alive
//	/readyz   200 or 503, see [Readiness.ServeHTTP]
//	/metrics  in Prometheus' format
type admin struct {
	ready   *Readiness
	metrics prometheus.Gatherer
	log     *slog.Logger
}

func (a admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n") //nolint:errcheck // the prober may have disconnected
	})
	mux.Handle("GET /readyz", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError, // one broken collector must not hide the others
	}))
	return mux
}

// run serves until ctx ends and closes l.
func (a admin) run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }() // both branches below receive

	select {
	case err := <-served:
		return fmt.Errorf("admin listener %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		srv.Close() //nolint:errcheck // cuts off a scrape in progress, on which nothing depends
	}
	<-served
	return nil
}
