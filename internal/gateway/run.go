package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"entitled/internal/token"

	"golang.org/x/sync/errgroup"
)

// The time limits of a connection, except those of a stream.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second // shorter than shutdownTimeout: a body that never ends is no error then
	writeTimeout      = 30 * time.Second // longer than a sync
	idleTimeout       = 2 * time.Minute
	maxHeader         = 8 << 10 // bytes; net/http allows 4 KiB more
	shutdownTimeout   = 15 * time.Second
)

// Run serves ln until ctx ends. Open gives it the source, and may wait until there is one; until
// then requests are answered 503. Then Run ends the streams, answers the requests in progress, and
// closes ln.
func (g *Gateway) Run(ctx context.Context, ln net.Listener, open func(context.Context) (Source, error)) error {
	srv := &http.Server{
		Handler:           g.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug), // strangers cause these errors
	}
	w, ctx := errgroup.WithContext(ctx)
	w.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	w.Go(func() error {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := srv.Shutdown(deadline); err != nil {
			return errors.Join(fmt.Errorf("shut down: requests still in progress after %v: %w", shutdownTimeout, err),
				srv.Close())
		}
		return nil
	})
	w.Go(func() error { return g.Follow(ctx, open) })
	return w.Wait()
}

// Follow is [Gateway.Run] without a listener, for a program that serves [Gateway.Handler] itself: it
// keeps the answers current until ctx ends, and then ends the streams.
func (g *Gateway) Follow(ctx context.Context, open func(context.Context) (Source, error)) error {
	w, ctx := errgroup.WithContext(ctx)
	w.Go(func() error {
		<-ctx.Done()
		g.hub.stop()
		g.hub.wait() // net/http does not know them
		return nil
	})
	w.Go(func() error {
		g.files.Watch(ctx, g.log, func(keys []any) {
			g.verifier.Store(token.NewVerifier(g.cfg.Mode, g.cfg.TokenSecrets, keys))
		})
		return nil
	})
	w.Go(func() error {
		s, err := open(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil // stopped while it waited
			}
			return err
		}
		g.Open(s)
		w.Go(func() error {
			g.hub.watchStatus(ctx, s)
			return nil
		})
		g.hub.follow(ctx, s)
		if ctx.Err() == nil {
			return errors.New("the watch of the bucket ended")
		}
		return nil
	})
	return w.Wait()
}
