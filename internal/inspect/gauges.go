package inspect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/stripeapi"
	"entitled/internal/stripeapi/budget"
)

const (
	// scrapeWithin bounds the reads of one scrape.
	scrapeWithin = 2 * time.Second
	// scrapeEvery is how long an answer is reused: several scrapers cost NATS no more than one.
	scrapeEvery = 5 * time.Second
)

// Gauges has the metrics of the fleet: the backlog and the parked customers, read from NATS at a
// scrape, and the budget as this syncer last saw it. All syncers of a mode report the same values;
// take the maximum.
type Gauges struct {
	log *slog.Logger
	Now func() time.Time

	up, dirty, oldest, due, retried, parked, parkedFor    *prometheus.Desc
	rate, fullRate, permits, waiting, taken, budgetWrites *prometheus.Desc

	// mu is locked while NATS is asked, so that concurrent scrapes ask once.
	mu        sync.Mutex
	inspector *Inspector     // nil until the syncer is open
	budget    *budget.Budget // nil until the syncer is open
	last      standings
	lastErr   error
	asked     time.Time
}

// NewGauges logs scrapes that fail.
func NewGauges(log *slog.Logger) *Gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("entitled_syncer_"+name, help, labels, nil)
	}
	return &Gauges{
		log: log,
		Now: time.Now,
		up: desc("backlog_up",
			"1 if the backlog could be read from NATS at this scrape; the gauges of the backlog are absent otherwise."),
		dirty: desc("dirty_customers",
			"Customers with a pending marker, by lane.", "lane"),
		oldest: desc("dirty_oldest_seconds",
			"Age of the oldest pending marker, by lane; 0 without one. A customer that is marked again counts from then.",
			"lane"),
		due: desc("jobs_oldest_seconds",
			"Age of the oldest job that is due and not done; 0 without one."),
		retried: desc("retried_customers",
			"Customers whose last sync failed and is retried."),
		parked: desc("parked_customers",
			"Customers whose syncs failed for good: their next event or a redrive tries them again."),
		parkedFor: desc("parked_oldest_seconds",
			"How long the first of the parked customers has been parked; 0 without one."),
		rate: desc("budget_rate",
			"Requests/s to Stripe that the fleet allows itself now; below budget_full_rate after a 429."),
		fullRate: desc("budget_full_rate",
			"Requests/s to Stripe that the fleet is configured for (STRIPE_RATE)."),
		permits: desc("budget_places",
			"Permits left in the fleet's budget when this syncer last read it; negative if later ones are taken already."),
		waiting: desc("budget_waiting",
			"Requests of this syncer that wait for a permit: now (webhooks), bulk, or request (apps that wait for an answer).",
			"lane"),
		taken: desc("budget_taken_total",
			"Permits that this syncer used."),
		budgetWrites: desc("budget_writes_total",
			"Compare-and-sets of the budget by this syncer, by result (won, lost).", "result"),
	}
}

// Open gives the gauges their sources; before, backlog_up is 0 and the others are absent.
func (g *Gauges) Open(i *Inspector, b *budget.Budget) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inspector, g.budget = i, b
}

// Describe implements [prometheus.Collector].
func (g *Gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.up, g.dirty, g.oldest, g.due, g.retried, g.parked, g.parkedFor,
		g.rate, g.fullRate, g.permits, g.waiting, g.taken, g.budgetWrites} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (g *Gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st, budget, err := g.read()
	if budget != nil {
		u := budget.Usage()
		gauge(g.rate, u.Rate)
		gauge(g.fullRate, u.Full)
		gauge(g.permits, u.Permits)
		for kind, n := range u.Waiting {
			gauge(g.waiting, float64(n), stripeapi.Kind(kind).String())
		}
		counter(g.taken, u.Taken)
		counter(g.budgetWrites, u.Writes, "won")
		counter(g.budgetWrites, u.Conflicts, "lost")
	}
	if err != nil {
		gauge(g.up, 0)
		return
	}
	gauge(g.up, 1)
	now := g.Now()
	for l, b := range st.lanes {
		gauge(g.dirty, float64(b.Len()), string(l))
		gauge(g.oldest, age(b.Oldest, now), string(l))
	}
	gauge(g.due, age(st.jobs.Oldest, now))
	gauge(g.retried, float64(st.failing.Retried))
	gauge(g.parked, float64(st.failing.Parked))
	gauge(g.parkedFor, age(st.failing.OldestParked, now))
}

// age is in seconds, 0 for the zero time.
func age(t, now time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}

func (g *Gauges) read() (standings, *budget.Budget, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inspector == nil {
		return standings{}, nil, errNotOpen
	}
	if now := g.Now(); g.asked.IsZero() || now.Sub(g.asked) >= scrapeEvery {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
		defer cancel()
		was := g.lastErr
		g.last, g.lastErr = g.inspector.standings(ctx)
		g.asked = now
		if g.lastErr != nil && was == nil {
			g.log.Warn("could not read the backlog for the metrics", "err", g.lastErr)
		}
	}
	return g.last, g.budget, g.lastErr
}

var errNotOpen = errors.New("the streams are not open yet")
