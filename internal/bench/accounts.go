package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

const (
	// stripeRate is Stripe's limit for one endpoint in requests/s, and the rate set in the
	// programs.
	stripeRate = 25
	// accountRounds bounds the rounds: one takes as long as a thousand pages.
	accountRounds = 3
	// unbound is a rate in requests/s for the preparation.
	unbound = 1000
)

// An account is a simulated Stripe account with many subscriptions over three years. Every fourth
// customer has a second one, created later, so that the two are pages apart.
type account struct {
	sim       *stripesim.Sim
	addr      string
	stop      func()
	customers int
	subs      []string // the first of each customer
	pages     int      // full ones
}

func newAccount(customers int) (*account, error) {
	a := &account{sim: stripesim.New(stripesim.Config{Seed: 1, Livemode: true}), customers: customers}
	product, err := a.sim.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	if err != nil {
		return nil, err
	}
	price, err := a.sim.CreatePrice(stripesim.PriceParams{Product: product, LookupKey: "pro"})
	if err != nil {
		return nil, err
	}
	all := 0
	now := a.sim.Now().Unix()
	err = a.sim.Load(func(l *stripesim.Loader) error {
		const span = 3 * 365 * 86400
		for i := range customers {
			born := now - span + int64(i)*span/int64(customers)
			id, err := l.Customer(stripesim.CustomerParams{ID: customerID(i), Created: born})
			if err != nil {
				return err
			}
			for n := range 1 + (i+3)%4/3 {
				sub, err := l.Subscription(stripesim.SubscriptionParams{
					Customer: id, Items: []stripesim.ItemParams{{Price: price}}, CurrentPeriodEnd: now + 20*86400,
					Created: min(now, born+int64(n)*int64(i%90)*86400),
				})
				if err != nil {
					return err
				}
				if n == 0 {
					a.subs = append(a.subs, sub)
				}
				all++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.pages = (all + 99) / 100
	var stop func()
	if a.addr, stop, err = serveHTTP(http.HandlerFunc(a.sim.ServeHTTP)); err != nil {
		return nil, err
	}
	a.stop = func() {
		stop()
		a.sim.Close()
	}
	return a, nil
}

// limit makes the simulator answer 429 above Stripe's rate, or not.
func (a *account) limit(rate float64) {
	a.sim.SetFaults(stripesim.Faults{Limits: stripesim.Limits{Endpoint: rate}})
}

// ideal returns the time of so many requests at Stripe's rate.
func ideal(requests int) time.Duration {
	return time.Duration(requests) * time.Second / stripeRate
}

// backfill runs a backfill as a process, and returns its last report and its greatest observed
// memory in bytes.
func (a *account) backfill(ctx context.Context, b *bench, srv *child, rate int) (end report, peak float64, err error) {
	c, err := b.start(ctx, order{Role: roleBackfill, NATS: srv.addr, Stripe: "http://" + a.addr, Rate: rate})
	if err != nil {
		return end, 0, err
	}
	defer c.stop()
	for {
		if end, err = c.usage(); err != nil {
			return end, peak, err
		}
		peak = max(peak, float64(end.Resident))
		if end.Done {
			return end, peak, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return end, peak, err
		}
	}
}

func (b *bench) accountRounds() int { return min(b.Rounds, accountRounds) }

// runBackfill reads a whole account into an empty bucket.
func runBackfill(ctx context.Context, b *bench) ([]Result, error) {
	b.Progress("backfill: the account")
	a, err := newAccount(b.pick(80_000, 400))
	if err != nil {
		return nil, err
	}
	defer a.stop()
	rate := b.pick(stripeRate, unbound)
	a.limit(float64(rate))
	var cost, peaks, took []float64
	var requests int
	for round := range b.accountRounds() {
		b.Progress(fmt.Sprintf("backfill: round %d of %d", round+1, b.accountRounds()))
		srv, err := b.start(ctx, order{Role: roleNATS})
		if err != nil {
			return nil, err
		}
		end, peak, err := a.backfill(ctx, b, srv, rate)
		srv.stop()
		if err != nil {
			return nil, err
		}
		if end.Customers != a.customers {
			return nil, fmt.Errorf("%d customers were written, Stripe has %d", end.Customers, a.customers)
		}
		cost = append(cost, float64(end.Took)/float64(ideal(a.pages)))
		took, peaks, requests = append(took, end.Took.Seconds()), append(peaks, peak/(1<<20)), end.Requests
	}
	return []Result{
		over("backfill's time ÷ (full pages ÷ Stripe's rate)", "ratio", cost).atMost(1.1).
			of("%.1f ÷ %.1f s: %d pages at %d/s, %d requests, %d customers",
				median(took), ideal(a.pages).Seconds(), a.pages, stripeRate, requests, a.customers),
		over("backfill's memory, the most", "MiB", peaks).atMost(512),
	}, nil
}

// runOutage starts syncers after an outage that left many customers changed and dirty.
func runOutage(ctx context.Context, b *bench) ([]Result, error) {
	b.Progress("outage: the account")
	a, err := newAccount(b.pick(80_000, 400))
	if err != nil {
		return nil, err
	}
	defer a.stop()
	srv, err := b.start(ctx, order{Role: roleNATS})
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	if _, _, err := a.backfill(ctx, b, srv, unbound); err != nil {
		return nil, err
	}
	nc, err := nats.Connect(srv.addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	rate, dirty := b.pick(stripeRate, unbound), b.pick(10_000, 250)
	a.limit(float64(rate))
	// From here on the rate is the fleet's.
	state, err := js.KeyValue(ctx, topology.StateBucket)
	if err == nil {
		err = state.Delete(ctx, "budget."+string(entitlement.Live))
	}
	if err != nil {
		return nil, err
	}
	var cost, took, requests, peaks []float64
	for round := range b.accountRounds() {
		b.Progress(fmt.Sprintf("outage: round %d of %d", round+1, b.accountRounds()))
		before := a.sim.Stats().Requests
		d, peak, err := a.outage(ctx, b, srv, js, outagePlan{round: round, dirty: dirty, rate: rate})
		if err != nil {
			return nil, err
		}
		cost = append(cost, float64(d)/float64(ideal(min(dirty, a.pages))))
		took, requests = append(took, d.Seconds()), append(requests, float64(a.sim.Stats().Requests-before))
		peaks = append(peaks, peak/(1<<20))
	}
	return []Result{
		over("outage's time ÷ (min(dirty, pages) ÷ rate)", "ratio", cost).atMost(1.2).
			of("%.1f ÷ %.1f s: %d dirty, %d pages, %d/s; %.0f requests, %d syncers",
				median(took), ideal(min(dirty, a.pages)).Seconds(), dirty, a.pages, stripeRate, median(requests),
				outageSyncers),
		over("outage's memory, the most of one syncer", "MiB", peaks),
	}, nil
}

const outageSyncers = 3

type outagePlan struct{ round, dirty, rate int }

// outage changes and marks customers across the whole account, starts syncers, and returns the time
// until no marker was left, and the greatest observed memory of one syncer in bytes.
func (a *account) outage(ctx context.Context, b *bench, srv *child, js jetstream.JetStream,
	p outagePlan) (took time.Duration, peak float64, err error) {
	step := a.customers / p.dirty
	for i := range p.dirty {
		if err := a.sim.Silent().UpdateSubscription(a.subs[i*step],
			map[string]string{"round": fmt.Sprint(p.round)}); err != nil {
			return 0, 0, err
		}
	}
	body := stripeevent.EncodeMarker(entitlement.Cause{
		Trigger: stripeevent.TriggerWebhook, Event: eventPlace, Type: "customer.subscription.updated",
	})
	if err := fill(ctx, js.Conn(), p.dirty, func(i int) *nats.Msg {
		c := stripeevent.Customer{Mode: entitlement.Live, ID: customerID(i * step)}
		return &nats.Msg{Subject: stripeevent.SyncSubject(stripeevent.Now, c), Data: body}
	}); err != nil {
		return 0, 0, err
	}
	// The relief job, due every 15 s, became due while no syncer ran. The entry of the previous
	// round is ten minutes old by then.
	state, err := js.KeyValue(ctx, topology.StateBucket)
	if err == nil {
		err = state.Purge(ctx, "relief."+string(entitlement.Live))
	}
	if err == nil {
		_, err = js.Publish(ctx, stripeevent.JobSubject(entitlement.Live, "relief"), nil)
	}
	if err != nil {
		return 0, 0, err
	}
	var syncers children
	defer syncers.stop()
	began := time.Now()
	for range outageSyncers {
		if _, err := syncers.start(ctx, b,
			order{Role: roleSyncer, NATS: srv.addr, Stripe: "http://" + a.addr, Rate: p.rate}); err != nil {
			return 0, 0, err
		}
	}
	for left := 1; left > 0; {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
		for _, c := range syncers {
			r, err := c.usage()
			if err != nil {
				return 0, 0, err
			}
			peak = max(peak, float64(r.Resident))
		}
		if left, err = pending(ctx, js); err != nil {
			return 0, 0, err
		}
		if time.Since(began) > 10*patience {
			return 0, 0, errors.New("markers are left after " + (10 * patience).String())
		}
	}
	return time.Since(began), peak, nil
}

// pending counts the markers of both lanes, including those being synced.
func pending(ctx context.Context, js jetstream.JetStream) (n int, err error) {
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		c, err := js.Consumer(ctx, topology.SyncStream, topology.LaneConsumer(entitlement.Live, lane))
		if err != nil {
			return 0, err
		}
		info := c.CachedInfo()
		n += int(info.NumPending) + info.NumAckPending
	}
	return n, nil
}
