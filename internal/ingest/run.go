package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// How long a client may take. Stripe sends a webhook at once and gives up after some 20 seconds; everybody else
// only holds a connection.
const (
	readHeaderTimeout = 5 * time.Second
	// readTimeout is for header and body together.
	readTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	// maxHeader is in bytes; net/http takes 4 KiB more.
	maxHeader = 8 << 10
	// shutdownTimeout is how long webhooks that are under way may take to be stored and answered.
	shutdownTimeout = 10 * time.Second
)

// Run serves webhooks on ln until ctx is done, then accepts no more and returns nil when those under way are answered. Their
// handlers wait for their own PubAcks, so that after Run nothing that was answered 200 is outstanding. It closes ln.
//
// It returns an error if the listener fails, or if webhooks were still under way after 10 seconds (or PublishTimeout plus
// 5, whichever is longer); those are cut off, and Stripe sends them again.
//
// The caller's order of shutdown: say not ready, end ctx, wait for Run, drain the NATS connection.
func (in *Ingest) Run(ctx context.Context, ln net.Listener) error {
	patience := max(shutdownTimeout, in.store.timeout+5*time.Second)
	srv := &http.Server{
		Handler:           in.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + patience,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         in.senders.state,
		ConnContext:       withSender,
		// What net/http complains about is what strangers send.
		ErrorLog: slog.NewLogLogger(in.log.Handler(), slog.LevelDebug),
	}
	// Run waits for it: served is read in every path.
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener{ln, in.senders}) }()
	select {
	case err := <-served:
		_ = srv.Close() // the listener's error is the one to report
		return fmt.Errorf("serve webhooks on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := srv.Shutdown(deadline)
	if err != nil {
		err = errors.Join(fmt.Errorf("shut down: webhooks still under way after %v: %w", patience, err), srv.Close())
	}
	<-served
	return err
}
