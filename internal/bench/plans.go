package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
)

// An applying is a pipeline with many customers, to which plans documents are applied.
type applying struct {
	*world
	b         *bench
	js        jetstream.JetStream
	kv        jetstream.KeyValue
	documents *applied.Bucket
	syncer    *child
	customers int

	changes <-chan seen
	conn    net.Conn
	answers *bufio.Reader
	form    form
	tickets []ticket
	sent    int
}

const (
	bareBucket = "bare"
	// probeEvery is the pause between two webhooks.
	probeEvery = 5 * time.Millisecond
	// decidedWithin bounds the time in which all customers are decided.
	decidedWithin = 10 * time.Minute
)

// runPlans applies documents to many customers, while webhooks for new ones come in.
func runPlans(ctx context.Context, b *bench) (results []Result, err error) {
	a, stop, err := newApplying(ctx, b)
	defer stop()
	if err != nil {
		return nil, err
	}
	var puts, sameFloor, otherFloor []float64
	var same, other applyRounds
	for round := range b.accountRounds() {
		b.Progress(fmt.Sprintf("plans: round %d of %d", round+1, b.accountRounds()))
		rate, err := a.puts(ctx, b.pick(30_000, 200))
		if err != nil {
			return nil, err
		}
		puts = append(puts, rate)
		for _, f := range []struct {
			into    *[]float64
			records bool
		}{{&sameFloor, false}, {&otherFloor, true}} {
			if rate, err = a.floor(ctx, f.records); err != nil {
				return nil, err
			}
			*f.into = append(*f.into, rate)
		}
		for _, r := range []struct {
			into *applyRounds
			doc  plans.Document
		}{
			{&same, plans.Document{Default: defaultOf(round), Connect: true}},
			{&other, plans.Document{Default: defaultOf(round + 1), Connect: true}},
		} {
			if round == 0 && r.into == &same {
				// So that the document after it changes no snapshot.
				if _, err := a.apply(ctx, plans.Document{Default: r.doc.Default}); err != nil {
					return nil, err
				}
			}
			if err := a.measure(ctx, r.into, r.doc); err != nil {
				return nil, err
			}
		}
	}
	b.Progress("plans: the deciding syncer is killed")
	took, err := a.killed(ctx, plans.Document{Default: defaultOf(1000)})
	if err != nil {
		return nil, err
	}
	return []Result{
		over("plans apply, nothing changes ÷ bare KV puts", "ratio", divide(same.rate, puts)).atLeast(0.5).
			of("%.0f ÷ %.0f/s, %d customers; µs of CPU each: %s",
				median(same.rate), median(puts), a.customers, same.cpu()),
		over("plans apply, everything changes ÷ bare KV puts", "ratio", divide(other.rate, puts)).atLeast(0.3).
			of("%.0f ÷ %.0f/s; a record for each; µs of CPU: %s", median(other.rate), median(puts), other.cpu()),
		over("its requests alone, nothing changes ÷ bare puts", "ratio", divide(sameFloor, puts)).
			of("%.0f/s: a listing, and a compare-and-set for each; nothing is decided", median(sameFloor)),
		over("its requests alone, everything changes ÷ bare puts", "ratio", divide(otherFloor, puts)).
			of("%.0f/s: and a record for each, after its latest was read", median(otherFloor)),
		over("webhook p99, nothing changes ÷ idle", "ratio", divide(same.p99, same.idle)).atMost(2).
			of("%.1f ÷ %.1f ms: webhook → watcher's callback, one at a time", median(same.p99), median(same.idle)),
		over("webhook p99, everything changes ÷ idle", "ratio", divide(other.p99, other.idle)).atMost(2).
			of("%.1f ÷ %.1f ms", median(other.p99), median(other.idle)),
		over("deciding syncer killed, then all decided", "s", []float64{took.Seconds()}).
			of("SIGKILL half way, another syncer starts; every snapshot is under the new document"),
	}, nil
}

// defaultOf is a grant for everybody that differs from round to round.
func defaultOf(round int) *plans.Default {
	return &plans.Default{Features: []string{fmt.Sprintf("feature_%d", round)}}
}

// applyRounds are the measurements of one kind of document.
type applyRounds struct {
	rate, p99, idle []float64
	// The microseconds of CPU for each customer, with the webhooks that came meanwhile. The watcher is
	// in the process of the load generator.
	syncer, nats, watcher []float64
}

func (r *applyRounds) cpu() string {
	return fmt.Sprintf("syncer %.0f, nats-server %.0f, watcher %.0f",
		median(r.syncer), median(r.nats), median(r.watcher))
}

// usages returns the CPU time so far of the syncer, the nats-server and this process.
func (a *applying) usages() (cpu [3]time.Duration, err error) {
	cpu[2] = processCPU()
	for i, c := range []*child{a.syncer, a.nats} {
		r, err := c.usage()
		if err != nil {
			return cpu, err
		}
		cpu[i] = r.CPU
	}
	return cpu, nil
}

func newApplying(ctx context.Context, b *bench) (a *applying, stop func(), err error) {
	a, stop = &applying{b: b, customers: b.pick(b.Customers, 200)}, func() {}
	b.Progress(fmt.Sprintf("plans: %d customers", a.customers))
	if a.world, err = newWorld(ctx, b, 1, nil); err != nil {
		return a, stop, err
	}
	cleanup := []func(){a.close}
	stop = func() {
		for i := len(cleanup) - 1; i >= 0; i-- {
			cleanup[i]()
		}
	}
	a.syncer = a.children[len(a.children)-1]
	if a.js, err = jetstream.New(a.nc); err != nil {
		return a, stop, err
	}
	if a.kv, err = a.js.KeyValue(ctx, entitlement.Bucket(entitlement.Live)); err != nil {
		return a, stop, err
	}
	at := time.Now()
	if err := fill(ctx, a.nc, a.customers, func(i int) *nats.Msg {
		s := aSnapshot(i, at)
		s.Features = []string{}
		plans.Decide(s, nil)
		return &nats.Msg{Subject: "$KV." + a.kv.Bucket() + "." + s.Customer, Data: s.Encode()}
	}); err != nil {
		return a, stop, err
	}
	// One webhook for each of so many customers, in turn.
	most := b.pick(40_000, 2000)
	if _, err := a.populate(a.customers, most); err != nil {
		return a, stop, err
	}
	a.tickets = newTickets(a.customers+most, a.customers+most, at)[a.customers:]
	a.form = newForm(at)
	if a.documents, err = applied.Open(ctx, a.js, entitlement.Live); err != nil {
		return a, stop, err
	}
	changes, unwatch, err := watch(ctx, a.nc)
	if err != nil {
		return a, stop, err
	}
	a.changes = changes
	cleanup = append(cleanup, unwatch)
	return a, stop, nil
}

// puts returns the rate of puts of snapshots into an ordinary bucket, by as many goroutines as there
// are connections elsewhere.
func (a *applying) puts(ctx context.Context, n int) (rate float64, err error) {
	kv, err := a.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bareBucket, Storage: jetstream.FileStorage})
	if err != nil {
		return 0, err
	}
	value := aSnapshot(0, time.Now()).Encode()
	var next atomic.Int64
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for range connections {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if _, err := kv.Put(gctx, customerID(int(i)), value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return float64(n) / time.Since(start).Seconds(), err
}

// measure sends webhooks while nothing else happens, applies a document, and sends webhooks until all
// customers are decided.
func (a *applying) measure(ctx context.Context, into *applyRounds, doc plans.Document) error {
	// Ingest closes a connection that is idle for a minute.
	conn, err := net.Dial("tcp", a.ingest.addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is outstanding
	a.conn, a.answers = conn, bufio.NewReader(conn)
	var idle, busy []float64
	for range a.b.pick(300, 10) {
		took, err := a.probe(ctx)
		if err != nil {
			return err
		}
		idle = append(idle, took)
	}
	requests := a.sim.Stats().Requests
	before, err := a.usages()
	if err != nil {
		return err
	}
	type end struct {
		took time.Duration
		err  error
	}
	done := make(chan end, 1)
	go func() { // received below
		took, err := a.apply(ctx, doc)
		done <- end{took, err}
	}()
	for {
		took, err := a.probe(ctx)
		if err != nil {
			return errors.Join(err, (<-done).err)
		}
		busy = append(busy, took)
		select {
		case e := <-done:
			if e.err != nil {
				return e.err
			}
			if more := a.sim.Stats().Requests - requests; more > 3*len(busy)+100 {
				return fmt.Errorf("%d requests to Stripe for %d webhooks: a document needs none", more, len(busy))
			}
			after, err := a.usages()
			if err != nil {
				return err
			}
			for i, list := range []*[]float64{&into.syncer, &into.nats, &into.watcher} {
				*list = append(*list, float64((after[i]-before[i]).Microseconds())/float64(a.customers))
			}
			into.rate = append(into.rate, float64(a.customers)/e.took.Seconds())
			into.p99, into.idle = append(into.p99, quantile(busy, .99)), append(into.idle, quantile(idle, .99))
			return nil
		default:
		}
	}
}

// probe sends a webhook for a new customer, and returns the milliseconds until the watcher's callback.
func (a *applying) probe(ctx context.Context) (took float64, err error) {
	if a.sent == len(a.tickets) {
		return 0, fmt.Errorf("%d webhooks were not enough", a.sent)
	}
	if err := sleep(ctx, probeEvery); err != nil {
		return 0, err
	}
	a.form.fill(a.form.request, &a.tickets[a.sent])
	start := time.Now()
	if _, err := a.conn.Write(a.form.request); err != nil {
		return 0, err
	}
	if err := readAnswer(a.answers); err != nil {
		return 0, err
	}
	at, err := awaitChange(ctx, a.changes, customerID(a.customers+a.sent))
	a.sent++
	return ms(at.Sub(start)), err
}

// put puts a document in force and returns its number.
func (a *applying) put(ctx context.Context, doc plans.Document) (number uint64, err error) {
	over, err := a.documents.InForce(ctx)
	if err != nil {
		return 0, err
	}
	if doc.Number, err = a.documents.Next(ctx, over, 0); err != nil {
		return 0, err
	}
	return doc.Number, a.documents.Apply(ctx, &doc, over, "bench", "")
}

// apply puts a document in force and returns the time until all customers are decided under it.
func (a *applying) apply(ctx context.Context, doc plans.Document) (time.Duration, error) {
	start := time.Now()
	number, err := a.put(ctx, doc)
	if err == nil {
		err = a.await(ctx, func(p applied.Progress) bool { return p.Number == number })
	}
	return time.Since(start), err
}

func (a *applying) await(ctx context.Context, reached func(applied.Progress) bool) error {
	for start := time.Now(); ; {
		p, err := a.documents.ReadProgress(ctx)
		if err != nil || reached(p) {
			return err
		}
		if time.Since(start) > decidedWithin {
			return fmt.Errorf("not decided within %s: %+v", decidedWithin, p)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// killed applies a document, kills the syncer that decides half way, starts another one, and returns
// the time from the kill until all customers are decided. It checks each of them.
func (a *applying) killed(ctx context.Context, doc plans.Document) (time.Duration, error) {
	number, err := a.put(ctx, doc)
	if err != nil {
		return 0, err
	}
	if err := a.await(ctx, func(p applied.Progress) bool {
		return p.Deciding == number && p.Done >= int64(a.b.pick(a.customers/2, 0)) || p.Number == number
	}); err != nil {
		return 0, err
	}
	before, err := a.documents.ReadProgress(ctx)
	if err != nil {
		return 0, err
	}
	if before.Number == number && !a.b.Quick {
		return 0, errors.New("all customers were decided before the syncer was killed: give more --customers")
	}
	start := time.Now()
	a.syncer.kill()
	a.b.Progress(fmt.Sprintf("plans: killed at %d of %d", before.Done, before.Total))
	if a.syncer, err = a.startSyncer(ctx, a.b); err != nil {
		return 0, err
	}
	if err := a.await(ctx, func(p applied.Progress) bool { return p.Number == number }); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, a.allUnder(ctx, number)
}

// allUnder checks that every snapshot is decided under a document.
func (a *applying) allUnder(ctx context.Context, number uint64) error {
	w, err := a.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer w.Stop() //nolint:errcheck // it is read to its end
	n := 0
	for e := range w.Updates() {
		if e == nil {
			break
		}
		s, err := entitlement.Decode(e.Value())
		if err != nil {
			return err
		}
		if s.PlansRevision != number {
			return fmt.Errorf("%s is decided under document %d, and %d is in force", e.Key(), s.PlansRevision, number)
		}
		n++
	}
	if n < a.customers {
		return fmt.Errorf("%d snapshots, want %d", n, a.customers)
	}
	return nil
}
