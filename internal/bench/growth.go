package bench

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// runGrowth measures ingest with a growing number of customers, each with a snapshot and a pending
// marker. The yardstick is the smallest number.
func runGrowth(ctx context.Context, b *bench) ([]Result, error) {
	sizes := []int{1000}
	for n := 100_000; n <= b.Customers; n *= 10 {
		sizes = append(sizes, n)
	}
	if b.Quick {
		sizes = []int{10, 100}
	}
	var all children
	defer all.stop()
	contestants := make([]*contestant, len(sizes))
	for i, n := range sizes {
		b.Progress(fmt.Sprintf("growth: %d customers", n))
		c := &contestant{name: fmt.Sprintf("%d customers", n), requests: b.pick(10_000, 100)}
		var err error
		if c.serve, c.nats, err = newIngest(ctx, b, &all, false); err != nil {
			return nil, err
		}
		if err := dirty(ctx, c.nats.addr, n); err != nil {
			return nil, err
		}
		contestants[i] = c
	}
	for round := range b.Rounds + 1 {
		for i, c := range contestants {
			b.Progress(fmt.Sprintf("growth: round %d of %d, %s", round, b.Rounds, c.name))
			if err := c.measure(ctx, b, sizes[i]); err != nil {
				return nil, err
			}
			if round == 0 { // warm-up
				c.rate, c.cpu, c.natsCPU = nil, nil, nil
			}
		}
	}
	total := func(c *contestant) []float64 {
		sum := make([]float64, len(c.cpu))
		for i := range sum {
			sum[i] = c.cpu[i] + c.natsCPU[i]
		}
		return sum
	}
	var results []Result
	first := contestants[0]
	for i, c := range contestants[1:] {
		results = append(results,
			over(fmt.Sprintf("CPU per webhook, %d ÷ %d customers", sizes[i+1], sizes[0]), "ratio",
				divide(total(c), total(first))).
				of("%.0f ÷ %.0f µs, ingest and nats-server together; %.0f ÷ %.0f webhooks/s",
					median(total(c))/1000, median(total(first))/1000, median(c.rate), median(first.rate)))
	}
	return results, nil
}

// dirty gives n customers a snapshot and a marker.
func dirty(ctx context.Context, url string, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := ensure(ctx, nc); err != nil {
		return err
	}
	if err := snapshots(ctx, nc, n); err != nil {
		return err
	}
	return markers(ctx, nc, n)
}
