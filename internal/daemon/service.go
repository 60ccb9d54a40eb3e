package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// A Service is the frame of a process: one connection, one admin listener, one readiness and one
// registry, whether its work is one component or several.
type Service struct {
	Name string
	NATS NATS
	// AdminAddr is the address of /healthz, /readyz and /metrics (setting ADMIN_ADDR).
	AdminAddr string
	// Admin, if not nil, is that listener, already open; Run closes it.
	Admin net.Listener
	// Ready is shared with the work, which sets its own conditions.
	Ready *Readiness
	// Metrics is the registry behind /metrics; see [NewRegistry].
	Metrics *prometheus.Registry
	// Traces exports spans; Run exports the last ones when it ends. Nil exports none.
	Traces *Traces
	Log    *slog.Logger
	// OnError receives every asynchronous error of the connection, see [Connection].
	OnError func(error)
	// Options are options of the connection, for example [nats.InProcessServer].
	Options []nats.Option
}

// NewRegistry returns a registry with the metrics of every process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return r
}

// lostError ends the work because of a failure, not a stop.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

var errStopping = errors.New("stopping")

// Run runs work until ctx ends. At the start it opens the admin listener, connects, and starts
// work. At the end it reports not ready, stops work, drains the connection, exports the last spans
// and closes the admin listener.
//
// Work gets the connection whether or not it is established. It must return when its context has
// ended, nil for an orderly stop. That context also ends when the admin listener or the connection
// is lost for good; Run then returns the reason.
func (s Service) Run(ctx context.Context, work func(context.Context, *nats.Conn) error) error {
	one := Connection{NATS: s.NATS, Name: s.Name, Log: s.Log, OnError: s.OnError, Options: s.Options}
	return s.RunAll(ctx, []Connection{one}, func(ctx context.Context, nc []*nats.Conn) error { return work(ctx, nc[0]) })
}

// RunAll is Run for a process whose parts have connections of their own. Readiness and OnClosed of the
// connections are set here.
func (s Service) RunAll(ctx context.Context, links []Connection, work func(context.Context, []*nats.Conn) error) error {
	l := s.Admin
	if l == nil {
		var err error
		if l, err = Listen("ADMIN_ADDR", s.AdminAddr); err != nil {
			return err
		}
	}
	s.Metrics.MustRegister(s.Ready)
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)

	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	adminDone := make(chan error, 1)
	go func() { // Run receives from adminDone before it returns
		err := admin{ready: s.Ready, metrics: s.Metrics, log: s.Log}.run(adminCtx, l)
		if err != nil {
			lose(lostError{err})
		}
		adminDone <- err
	}()
	s.Log.Info("admin listener is open", "addr", l.Addr().String())

	err := s.connected(ctx, lose, links, work)
	s.Traces.close(ctx)
	stopAdmin()
	if adminErr := <-adminDone; !errors.Is(err, adminErr) {
		err = errors.Join(err, adminErr)
	}
	return err
}

// connected connects, runs work and drains the connections.
func (s Service) connected(ctx context.Context, lose func(error), links []Connection,
	work func(context.Context, []*nats.Conn) error) (err error) {
	var conns []*nats.Conn
	for _, link := range links {
		closed := make(chan struct{})
		link.Ready, link.OnClosed = s.Ready, func(err error) {
			lose(lostError{fmt.Errorf("NATS connection ended by the server: %w", err)})
			close(closed)
		}
		nc, cerr := Connect(link)
		if cerr != nil {
			return cerr
		}
		defer func() { err = errors.Join(err, drain(nc, closed)) }()
		conns = append(conns, nc)
	}
	if err := s.Metrics.Register(connectionMetrics(conns)); err != nil {
		return fmt.Errorf("metrics of the NATS connection: %w", err)
	}
	s.Log.Info("started", "version", Version())

	unready := context.AfterFunc(ctx, func() {
		s.Ready.Set("process", errStopping)
		s.Log.Info("stopping; a second signal ends the process at once", "cause", context.Cause(ctx))
	})
	err = work(ctx, conns)
	unready()
	if lost := (lostError{}); errors.As(context.Cause(ctx), &lost) {
		err = errors.Join(lost.error, err)
	}
	return err
}

// drain sends pending messages and closes the connection. A connection that is not established is
// only closed.
func drain(nc *nats.Conn, closed <-chan struct{}) error {
	if err := nc.Drain(); err != nil {
		nc.Close()
	}
	deadline := time.NewTimer(2 * drainTimeout)
	defer deadline.Stop()
	select {
	case <-closed:
		return nil
	case <-deadline.C:
		nc.Close()
		return fmt.Errorf("drain the NATS connection: not finished after %s", 2*drainTimeout)
	}
}

func connectionMetrics(conns []*nats.Conn) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "entitled_nats_reconnects_total",
		Help: "Reconnects to NATS.",
	}, func() float64 {
		total := 0.0
		for _, nc := range conns {
			total += float64(nc.Stats().Reconnects)
		}
		return total
	})
}
