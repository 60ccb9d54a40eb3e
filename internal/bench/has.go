package bench

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/topology"
)

// runHas calls a warm client repeatedly, for each customer in turn.
func runHas(ctx context.Context, b *bench) ([]Result, error) {
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
	customers := b.pick(10_000, 100)
	if err := ensure(ctx, nc); err != nil {
		return nil, err
	}
	if err := snapshots(ctx, nc, customers); err != nil {
		return nil, err
	}
	client, err := entitlement.Open(ctx, nc, entitlement.Live, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // always nil
	keys := make([]string, customers)
	for i := range keys {
		keys[i] = customerID(i)
	}
	n := b.pick(3_000_000, 10_000)
	var took, allocations []float64
	for range b.Rounds + 1 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		for i := range n {
			if !client.Has(keys[i%customers], "sso") {
				return nil, errors.New("Client.Has is false for a feature that the bucket says the customer has")
			}
		}
		elapsed := time.Since(start)
		runtime.ReadMemStats(&after)
		took = append(took, float64(elapsed.Nanoseconds())/float64(n))
		// The client's goroutines allocate a little in the meantime, thousands of times less than
		// one allocation per call.
		allocations = append(allocations, float64((after.Mallocs-before.Mallocs)/uint64(n)))
	}
	return []Result{
		over("Client.Has", "ns", took[1:]).atMost(100).of("%.0f allocations; %d customers in turn",
			median(allocations[1:]), customers),
	}, nil
}

// ensure creates the assets of the programs.
func ensure(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return topology.Ensure(ctx, js,
		append(topology.Ingest(topology.Options{}), topology.Syncer(topology.Options{}, entitlement.Live)...))
}
