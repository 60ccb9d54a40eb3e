package bench

import (
	"context"
	"fmt"
	"time"
)

// connections is the number of connections that send webhooks.
const connections = 64

// A contestant is a webhook server, with its results of each round.
type contestant struct {
	name     string
	requests int
	serve    *child
	nats     *child // nil if it stores nothing

	rate, cpu, natsCPU []float64 // per second, and nanoseconds per webhook
}

// measure runs one round.
func (c *contestant) measure(ctx context.Context, b *bench, customers int) error {
	at := time.Now()
	tickets := newTickets(c.requests, customers, at)
	before, err := c.usage()
	if err != nil {
		return err
	}
	took, err := blast(ctx, c.serve.addr, connections, at, tickets)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	after, err := c.usage()
	if err != nil {
		return err
	}
	n := float64(c.requests)
	c.rate = append(c.rate, n/took.Seconds())
	c.cpu = append(c.cpu, float64(after[0]-before[0])/n)
	c.natsCPU = append(c.natsCPU, float64(after[1]-before[1])/n)
	return ctx.Err()
}

// usage returns the CPU time of the server and of its NATS.
func (c *contestant) usage() (cpu [2]time.Duration, err error) {
	for i, p := range []*child{c.serve, c.nats} {
		if p == nil {
			continue
		}
		r, err := p.usage()
		if err != nil {
			return cpu, err
		}
		cpu[i] = r.CPU
	}
	return cpu, nil
}

// newIngest starts an ingest with its own NATS.
func newIngest(ctx context.Context, b *bench, all *children, sync bool) (serve, nats *child, err error) {
	if nats, err = all.start(ctx, b, order{Role: roleNATS, Sync: sync}); err == nil {
		serve, err = all.start(ctx, b, order{Role: roleIngest, NATS: nats.addr})
	}
	return serve, nats, err
}

func runIngest(ctx context.Context, b *bench) ([]Result, error) {
	var all children
	defer all.stop()
	bare := &contestant{name: "bare Gin", requests: b.pick(40_000, 400)}
	construct := &contestant{name: "ConstructEvent", requests: b.pick(10_000, 100)}
	stored := &contestant{name: "ingest", requests: b.pick(15_000, 200)}
	synced := &contestant{name: "ingest, fsync", requests: b.pick(4_000, 64)}
	var err error
	if bare.serve, err = all.start(ctx, b, order{Role: roleBare}); err != nil {
		return nil, err
	}
	if construct.serve, err = all.start(ctx, b, order{Role: roleConstruct}); err != nil {
		return nil, err
	}
	if stored.serve, stored.nats, err = newIngest(ctx, b, &all, false); err != nil {
		return nil, err
	}
	if synced.serve, synced.nats, err = newIngest(ctx, b, &all, true); err != nil {
		return nil, err
	}
	floor, err := newFloor(stored.nats.addr, b.pick(15_000, 200))
	if err != nil {
		return nil, err
	}
	defer floor.close()
	syncFloor, err := newFloor(synced.nats.addr, b.pick(4_000, 64))
	if err != nil {
		return nil, err
	}
	defer syncFloor.close()
	r := ingestRows{bare, construct, stored, synced, floor, syncFloor, &batchLoop{floor: syncFloor}}
	// The first round is a warm-up.
	for round := range b.Rounds + 1 {
		if err := r.round(ctx, b, round); err != nil {
			return nil, err
		}
		if round == 0 {
			r.reset()
		}
	}
	return r.results(), nil
}

// ingestRows are the contestants and the floors of the rows of ingest.
type ingestRows struct {
	bare, construct, stored, synced *contestant
	floor, syncFloor                *floorLoop
	batches                         *batchLoop
}

func (r *ingestRows) contestants() []*contestant {
	return []*contestant{r.bare, r.construct, r.stored, r.synced}
}

func (r *ingestRows) round(ctx context.Context, b *bench, round int) error {
	for _, c := range r.contestants() {
		b.Progress(fmt.Sprintf("ingest: round %d of %d, %s", round, b.Rounds, c.name))
		if err := c.measure(ctx, b, 1000); err != nil {
			return err
		}
	}
	for _, f := range []interface{ measure(context.Context) error }{r.floor, r.syncFloor, r.batches} {
		b.Progress(fmt.Sprintf("ingest: round %d of %d, bare JetStream", round, b.Rounds))
		if err := f.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reset forgets the measurements so far.
func (r *ingestRows) reset() {
	for _, c := range r.contestants() {
		c.rate, c.cpu, c.natsCPU = nil, nil, nil
	}
	r.floor.rate, r.syncFloor.rate, r.batches.rate = nil, nil, nil
}

func (r *ingestRows) results() []Result {
	bare, construct, stored, synced := r.bare, r.construct, r.stored, r.synced
	floor, syncFloor, batches := r.floor, r.syncFloor, r.batches
	µs := func(ns []float64) float64 { return median(ns) / 1000 }
	return []Result{
		over("ingest ÷ bare Gin", "ratio", divide(stored.rate, bare.rate)).atLeast(.4).
			of("%.0f ÷ %.0f webhooks/s", median(stored.rate), median(bare.rate)),
		over("ingest ÷ ConstructEvent", "ratio", divide(stored.rate, construct.rate)).atLeast(1.4).
			of("%.0f ÷ %.0f webhooks/s", median(stored.rate), median(construct.rate)),
		over("CPU per webhook ÷ bare Gin", "ratio", divide(stored.cpu, bare.cpu)).atMost(2.7).
			of("%.0f ÷ %.0f µs; nats-server %.0f µs more", µs(stored.cpu), µs(bare.cpu), µs(stored.natsCPU)),
		over("ingest with fsync ÷ bare Gin", "ratio", divide(synced.rate, bare.rate)).atLeast(.12).
			of("%.0f ÷ %.0f webhooks/s", median(synced.rate), median(bare.rate)),
		over("floor: bare JetStream ÷ bare Gin", "ratio", divide(floor.rate, bare.rate)).
			of("%.0f/s: event, then marker, by 64 publishers; no HTTP, no signature", median(floor.rate)),
		over("floor: bare JetStream with fsync ÷ bare Gin", "ratio", divide(syncFloor.rate, bare.rate)).
			of("%.0f/s: the same, on the nats-server that syncs", median(syncFloor.rate)),
		over("floor: batches with fsync ÷ bare Gin", "ratio", divide(batches.rate, bare.rate)).
			of("%.0f/s: the events of 32 webhooks as one atomic batch, then their markers; two such at a time",
				median(batches.rate)),
		over("ingest ÷ bare JetStream", "ratio", divide(stored.rate, floor.rate)),
		over("ingest with fsync ÷ bare JetStream with fsync", "ratio", divide(synced.rate, syncFloor.rate)),
	}
}
