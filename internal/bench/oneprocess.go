package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"entitled/internal/daemon"
	"entitled/internal/serve"
	"entitled/internal/term"
	"entitled/internal/wiring/consoled"
	"entitled/internal/wiring/gatewayd"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

// serveOne runs everything like `entitled serve`, and returns at once.
func serveOne(o order) (addr string, stop func(), err error) {
	// The parent asks the admin listener whether it is ready.
	admin, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	nats, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	check := &daemon.Checker{}
	in := ingestd.Settings{MaxBody: "1 MiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "5s"}.Check(check)
	in.Secrets, in.Shared = []string{signingSecret}, shared(check)
	y := syncerd.Settings{Base: o.Stripe, Rate: strconv.Itoa(cmp.Or(o.Rate, syncRate)), CoverageEvery: "5m"}.
		Check(check, stripeKey)
	y.Shared = in.Shared
	pages := consoled.Settings{Addr: "127.0.0.1:0"}.Check(check)
	if err := check.Err(); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { // received by stop
		ended <- serve.Run(ctx, serve.Config{
			Dir: o.Dir, Public: "127.0.0.1:0", Admin: admin, NATS: nats, Ingest: in, Syncer: y,
			Console: pages,
			Gateway: gatewayd.Settings{MaxStreams: "20000", StripeBase: o.Stripe},
			Out:     term.Terminal{Writer: io.Discard}, Log: slog.New(slog.DiscardHandler), Self: "entitled",
		})
	}()
	return admin, func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// runServe starts `entitled serve` from an empty folder, and measures its memory while it is idle.
func runServe(ctx context.Context, b *bench) ([]Result, error) {
	sim := stripesim.New(stripesim.Config{Seed: 1, Livemode: true})
	defer sim.Close()
	stripe, stop, err := serveHTTP(sim)
	if err != nil {
		return nil, err
	}
	defer stop()
	var ready, idle []float64
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("serve: round %d of %d", round+1, b.Rounds))
		took, most, err := b.serveRound(ctx, order{
			Role: roleServe, Dir: filepath.Join(b.dir, fmt.Sprintf("serve-%d", round)), Stripe: "http://" + stripe,
		})
		if err != nil {
			return nil, err
		}
		ready, idle = append(ready, took.Seconds()), append(idle, most)
	}
	return []Result{
		over("serve: from an empty folder until ready", "s", ready).atMost(2).
			of("NATS, ingest, a syncer and the gateway, from the start of the process"),
		over("serve's memory when idle, the most in 10 s", "MiB", idle).atMost(96),
	}, nil
}

// serveRound returns the time from the start of the process until it is ready, and the most memory
// that it has after that, in MiB.
func (b *bench) serveRound(ctx context.Context, o order) (took time.Duration, most float64, err error) {
	start := time.Now()
	c, err := b.start(ctx, o)
	if err != nil {
		return 0, 0, err
	}
	defer c.stop()
	for ok := false; !ok; {
		if time.Since(start) > childStart {
			return 0, 0, fmt.Errorf("entitled serve: not ready within %s", childStart)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, 0, err
		}
		res, err := http.Get("http://" + c.addr + "/readyz")
		if err != nil {
			continue // it does not listen yet
		}
		ok = res.StatusCode == http.StatusOK
		_ = res.Body.Close()
	}
	took = time.Since(start)
	for range b.pick(40, 2) {
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return 0, 0, err
		}
		r, err := c.usage()
		if err != nil {
			return 0, 0, err
		}
		most = max(most, float64(r.Resident)/(1<<20))
	}
	return took, most, nil
}
