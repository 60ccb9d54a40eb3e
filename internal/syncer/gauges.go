package syncer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

const (
	// scrapeWithin bounds what one scrape asks of NATS.
	scrapeWithin = 2 * time.Second
	// scrapeEvery is how long an answer is good for: several scrapers cost NATS no more than one.
	scrapeEvery = 5 * time.Second
)

// gauges tell of what is not this syncer's own but the fleet's: the backlog and the parked customers, read from NATS when
// somebody scrapes, and the budget as this syncer last saw it. All syncers of a mode say the same; take the maximum.
type gauges struct {
	log *slog.Logger
	now func() time.Time

	up, dirty, oldest, due, retried, parked, parkedFor   *prometheus.Desc
	rate, fullRate, places, waiting, taken, budgetWrites *prometheus.Desc

	// mu is held while NATS is asked, so that scrapes at the same time ask once.
	mu        sync.Mutex
	inspector *Inspector        // nil until the syncer is open
	budget    *stripeapi.Budget // as inspector
	last      standings
	lastErr   error
	asked     time.Time
}

// standings are what NATS says of a mode.
type standings struct {
	lanes   map[stripeevent.Lane]Backlog
	jobs    Backlog
	failing Failing
}

func newGauges(log *slog.Logger) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("entitled_syncer_"+name, help, labels, nil)
	}
	return &gauges{
		log:          log,
		now:          time.Now,
		up:           desc("backlog_up", "1 if the backlog could be read from NATS at this scrape; the gauges of the backlog are absent otherwise."),
		dirty:        desc("dirty_customers", "Customers with a marker that no sync has settled, by lane, of all syncers of the mode.", "lane"),
		oldest:       desc("dirty_oldest_seconds", "Age of the oldest marker, by lane; 0 without one. A customer that is marked again counts from then.", "lane"),
		due:          desc("jobs_oldest_seconds", "Age of the oldest job that is due and not done; 0 without one."),
		retried:      desc("retried_customers", "Customers whose last sync failed and that are tried again by themselves."),
		parked:       desc("parked_customers", "Customers whose syncs failed until they were given up: their next event or a redrive tries them again."),
		parkedFor:    desc("parked_oldest_seconds", "How long the first of the parked customers has been parked; 0 without one."),
		rate:         desc("budget_rate", "Requests/s to Stripe that the fleet allows itself now; below budget_full_rate after a 429."),
		fullRate:     desc("budget_full_rate", "Requests/s to Stripe that the fleet is configured for (STRIPE_RATE)."),
		places:       desc("budget_places", "Places left in the fleet's bucket when this syncer last saw it; below 0 they are promised."),
		waiting:      desc("budget_waiting", "Requests of this syncer that wait for a place in the budget: now for webhooks, bulk, and request for apps that wait for an answer.", "lane"),
		taken:        desc("budget_taken_total", "Places in the budget that this syncer used."),
		budgetWrites: desc("budget_writes_total", "Compare-and-sets of the budget by this syncer, by result (won, lost).", "result"),
	}
}

// open lets the gauges speak.
func (g *gauges) open(i *Inspector, b *stripeapi.Budget) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inspector, g.budget = i, b
}

// Describe is half of [prometheus.Collector].
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.up, g.dirty, g.oldest, g.due, g.retried, g.parked, g.parkedFor,
		g.rate, g.fullRate, g.places, g.waiting, g.taken, g.budgetWrites} {
		ch <- d
	}
}

// Collect is the other half.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
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
		gauge(g.places, u.Places)
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
	now := g.now()
	for l, b := range st.lanes {
		gauge(g.dirty, float64(b.Len()), string(l))
		gauge(g.oldest, age(b.Oldest, now), string(l))
	}
	gauge(g.due, age(st.jobs.Oldest, now))
	gauge(g.retried, float64(st.failing.Retried))
	gauge(g.parked, float64(st.failing.Parked))
	gauge(g.parkedFor, age(st.failing.OldestParked, now))
}

// age is in seconds, 0 for no time at all.
func age(t, now time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}

func (g *gauges) read() (standings, *stripeapi.Budget, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inspector == nil {
		return standings{}, nil, errNotOpen
	}
	if now := g.now(); g.asked.IsZero() || now.Sub(g.asked) >= scrapeEvery {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
		defer cancel()
		was := g.lastErr
		g.last, g.lastErr = g.inspector.standings(ctx)
		g.asked = now
		if g.lastErr != nil && was == nil {
			g.log.Warn("backlog not read for the metrics", "err", g.lastErr)
		}
	}
	return g.last, g.budget, g.lastErr
}

var errNotOpen = errors.New("the streams are not open yet")

func (i *Inspector) standings(ctx context.Context) (standings, error) {
	st := standings{lanes: map[stripeevent.Lane]Backlog{}}
	var err error
	for _, l := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		if st.lanes[l], err = i.Lane(ctx, l); err != nil {
			return st, err
		}
	}
	if st.jobs, err = i.Jobs(ctx); err != nil {
		return st, err
	}
	st.failing, err = i.Failing(ctx, time.Time{})
	return st, err
}
