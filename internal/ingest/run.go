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

// The time limits of a connection. Stripe sends a webhook at once and gives up after about 20
// seconds; any other client only occupies a connection.
const (
	readHeaderTimeout = 5 * time.Second
	// readTimeout bounds the reading of header and body together.
	readTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	// maxHeader is in bytes; net/http allows 4 KiB more.
	maxHeader = 8 << 10
	// shutdownTimeout bounds the storing and answering of webhooks in progress.
	shutdownTimeout = 10 * time.Second
)

// Run serves webhooks on ln until ctx ends. Then it accepts no more and returns nil when those in
// progress are answered. Their handlers wait for their PubAcks, so after Run nothing that was
// answered 200 is outstanding. It closes ln.
//
// It returns an error if the listener fails, or if webhooks are still in progress after 10 seconds
// (or PublishTimeout plus 5, whichever is longer); those are cut off, and Stripe retries them.
//
// The caller shuts down in this order: report not ready, end ctx, wait for Run, drain the NATS
// connection.
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
		// Strangers cause the errors that net/http logs.
		ErrorLog: slog.NewLogLogger(in.log.Handler(), slog.LevelDebug),
	}
	// Run waits for it: every path receives from served.
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
		err = errors.Join(fmt.Errorf("shut down: webhooks still in progress after %v: %w", patience, err), srv.Close())
	}
	<-served
	return err
}
