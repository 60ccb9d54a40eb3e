package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
)

// runReaders opens clients of a bucket with many customers, in this process.
func runReaders(ctx context.Context, b *bench) ([]Result, error) {
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
	customers := b.pick(b.Customers, 20_000) // the memory of fewer would be lost beside the rest of the heap
	var speed, whole, decisions, ids []float64
	var encoded int
	for _, own := range []bool{false, true} {
		b.Progress(fmt.Sprintf("readers: %d snapshots", customers))
		if encoded, err = decided(ctx, nc, customers, own); err != nil {
			return nil, err
		}
		for range b.Rounds {
			if own {
				_, heap, err := opened(ctx, nc, customers, true)
				if err != nil {
					return nil, err
				}
				ids = append(ids, heap)
				continue
			}
			rate, heap, err := opened(ctx, nc, customers, false)
			if err != nil {
				return nil, err
			}
			speed, whole = append(speed, rate), append(whole, heap-float64(encoded)/float64(customers))
			if _, heap, err = opened(ctx, nc, customers, true); err != nil {
				return nil, err
			}
			decisions = append(decisions, heap)
		}
	}
	return []Result{
		over("Open, entries a second", "entries/s", speed).atLeast(80_000).
			of("%d customers; the nats-server and this process share the cores", customers),
		over("client of whole snapshots, memory beyond the JSON", "B", whole).atMost(250).of("each customer's heap"),
		over("client of decisions only, memory", "B", decisions).atMost(350).of("each customer's heap"),
		over("the same with own ids", "B", ids).atMost(450).of("ids of 36 bytes"),
	}, nil
}

// decided fills the bucket with customers of one subscription that grants, with ids of their own if
// own is true, and returns the bytes of their JSON.
func decided(ctx context.Context, nc *nats.Conn, customers int, own bool) (encoded int, err error) {
	at := time.Now()
	err = fill(ctx, nc, customers, func(i int) *nats.Msg {
		s := aSnapshot(i, at)
		s.Limits = map[string]entitlement.Limit{"seats": 5}
		s.Grants = []entitlement.Grant{{Source: s.Subscriptions[0].ID, Plans: []string{"pro"}, Features: s.Features,
			Limits: s.Limits, Adds: map[string]entitlement.Limit{}}}
		if own {
			s.ID = fmt.Sprintf("00000000-0000-4000-8000-%012x", i)
		}
		data := s.Encode()
		encoded += len(data)
		return &nats.Msg{Subject: "$KV." + entitlement.Bucket(entitlement.Live) + "." + customerID(i), Data: data}
	})
	return encoded, err
}

// opened opens a client and closes it. It returns the entries that it read a second, and the heap that
// it takes for each customer.
func opened(ctx context.Context, nc *nats.Conn, customers int, decisionsOnly bool) (rate, heap float64, err error) {
	before := heapInUse()
	start := time.Now()
	client, err := entitlement.Open(ctx, nc, entitlement.Live, &entitlement.Options{DecisionsOnly: decisionsOnly})
	if err != nil {
		return 0, 0, err
	}
	defer client.Close() //nolint:errcheck // always nil
	took := time.Since(start)
	heap = (heapInUse() - before) / float64(customers)
	if n := client.Status().Snapshots; n != customers {
		return 0, 0, fmt.Errorf("the client knows %d of %d customers", n, customers)
	}
	return float64(customers) / took.Seconds(), heap, nil
}

// heapInUse returns the bytes of the heap that are in use.
func heapInUse() float64 {
	runtime.GC()
	runtime.GC() // frees what finalizers and pools kept until the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
