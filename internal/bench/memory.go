package bench

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
)

// runMemory starts a syncer with many snapshots and markers, and a Stripe that takes a second per
// answer, so that most markers stay pending.
func runMemory(ctx context.Context, b *bench) ([]Result, error) {
	var all children
	defer all.stop()
	srv, err := all.start(ctx, b, order{Role: roleNATS})
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(srv.addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := ensure(ctx, nc); err != nil {
		return nil, err
	}
	customers := b.pick(b.Customers, 200)
	b.Progress(fmt.Sprintf("memory: %d snapshots and markers", customers))
	if err := snapshots(ctx, nc, customers); err != nil {
		return nil, err
	}
	if err := markers(ctx, nc, customers); err != nil {
		return nil, err
	}
	stripe, stop, err := serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sleep(r.Context(), time.Second) == nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"object":"list","data":[],"has_more":false}`)) // a syncer that is gone needs none
		}
	}))
	if err != nil {
		return nil, err
	}
	defer stop()
	var peaks []float64
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("memory: round %d of %d", round+1, b.Rounds))
		peak, err := b.syncerPeak(ctx, srv.addr, "http://"+stripe)
		if err != nil {
			return nil, err
		}
		peaks = append(peaks, peak/(1<<20))
	}
	measured := "the program syncer"
	if b.Syncer == "" {
		measured = "entitled, which is larger than the program syncer"
	}
	return []Result{
		over("syncer's memory, the most in 10 s", "MiB", peaks).atMost(64).
			of("%d snapshots in the bucket, as many markers pending; all of %s", customers, measured),
	}, nil
}

// syncerPeak starts a syncer and returns its greatest observed memory in bytes.
func (b *bench) syncerPeak(ctx context.Context, natsURL, stripe string) (peak float64, err error) {
	resident, stop, err := b.syncerMemory(ctx, natsURL, stripe)
	if err != nil {
		return 0, err
	}
	defer stop()
	for range b.pick(40, 4) {
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return 0, err
		}
		n, err := resident()
		if err != nil {
			return 0, err
		}
		peak = max(peak, float64(n))
	}
	return peak, nil
}

// syncerMemory starts a syncer. resident returns its memory in bytes.
func (b *bench) syncerMemory(ctx context.Context, natsURL, stripe string) (
	resident func() (int64, error), stop func(), err error,
) {
	if b.Syncer != "" {
		p, err := startSyncer(ctx, b.Syncer, natsURL, stripe)
		if err != nil {
			return nil, nil, err
		}
		return p.resident, p.stop, nil
	}
	c, err := b.start(ctx, order{Role: roleSyncer, NATS: natsURL, Stripe: stripe})
	if err != nil {
		return nil, nil, err
	}
	return func() (int64, error) {
		r, err := c.usage()
		return r.Resident, err
	}, c.stop, nil
}
