package syncer

import (
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
)

// benchRate is what Stripe allows one endpoint, in requests/s.
const benchRate = 25

// A backfill of 100,000 subscriptions against a Stripe of 25 requests/s: cost is its time ÷ that of its full pages.
//
//	go test -run - -bench Backfill -benchtime 1x ./internal/syncer
func BenchmarkBackfill(b *testing.B) {
	r, pages := benchAccount(b)
	for b.Loop() {
		o := r.operator(benchConfig)
		began := time.Now()
		rep, err := o.Backfill(b.Context(), SweepOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds()*benchRate/float64(pages), "cost")
		b.ReportMetric(float64(rep.Requests), "requests")
	}
}

// An outage that leaves 10,000 of the customers with 100,000 subscriptions dirty, from the syncers' start until no marker is
// left: cost is its time ÷ that of a sweep's full pages, which are fewer than the dirty.
func BenchmarkOutage(b *testing.B) {
	r, pages := benchAccount(b)
	if _, err := r.operator(func(c *Config) { c.Rate = 1000 }, quiet).Backfill(b.Context(), SweepOptions{}); err != nil {
		b.Fatal(err)
	}
	// The rate is the fleet's from here on.
	if err := r.operator(benchConfig).s.store.state.Delete(b.Context(), "budget.test"); err != nil {
		b.Fatal(err)
	}
	r.cfg = benchConfig
	info := r.sim.Customers()
	for b.Loop() {
		for _, c := range info[:10_000] {
			r.mark(stripeevent.Customer{Mode: entitlement.Test, ID: c.ID})
		}
		r.publishJob("relief")
		began := time.Now()
		stop := r.start()
		r.awaitIdleFor(5 * time.Minute)
		b.ReportMetric(time.Since(began).Seconds()*benchRate/float64(pages), "cost")
		stop()
	}
}

func benchConfig(c *Config) {
	c.Rate = benchRate
	quiet(c)
}

func benchAccount(b *testing.B) (r *rig, pages int) {
	b.Helper()
	r = newRig(b, nil)
	now := r.sim.Now().Unix()
	err := r.sim.Load(func(l *stripesim.Loader) error {
		const customers, span = 80_000, 3 * 365 * 86400
		for i := range customers {
			born := now - span + int64(i)*span/customers
			id, err := l.Customer(stripesim.CustomerParams{Created: born})
			if err != nil {
				return err
			}
			// Every fourth has a second one, some time later.
			for n := range 1 + (i+3)%4/3 {
				if _, err := l.Subscription(stripesim.SubscriptionParams{
					Customer: id, Items: []stripesim.ItemParams{{Price: r.price}}, Created: min(now, born+int64(n)*int64(i%90)*86400),
					CurrentPeriodEnd: now + 20*86400,
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return r, 1000
}
