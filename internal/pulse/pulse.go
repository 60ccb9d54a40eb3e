// Package pulse samples how the work of a mode stands: how many webhooks arrive and how long they wait,
// the backlog, the budget of requests to Stripe, the coverage and the drift. It keeps the samples of the
// last minutes, for charts.
//
// It asks NATS when [Pulse.Take] is called, and at most once an interval. The slow readings are
// made less often.
package pulse

import (
	"context"
	"slices"
	"sync"
	"time"

	"entitled/internal/inspect"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/stripeevent"
)

const (
	// within bounds the time for a sample.
	within = 5 * time.Second
	// window is the time over which the arriving webhooks are averaged.
	window = 10 * time.Second
	// slowly is the pause between two of the longer readings, which may read an entry for each failing
	// customer.
	slowly = 10 * time.Second
	// waitsKept is the number of the latest webhooks from which the median and the 95th percentile are
	// calculated; waitsRead bounds the records that are read for a sample.
	waitsKept, waitsRead = 100, 200
	// kept is how far back the points reach.
	kept = 5 * time.Minute
	// usedOver is the longest time between two samples over which the use of the budget is averaged.
	usedOver = time.Minute
)

// A Config configures a [Pulse].
type Config struct {
	// Open opens the mode's streams and buckets, or returns those that are open.
	Open func(context.Context) (*inspect.Inspector, error)
	// Fresh is how long Take returns the same sample.
	Fresh time.Duration
	Now   func() time.Time
}

// A Pulse takes samples. It is safe for concurrent use.
type Pulse struct {
	cfg Config

	// mu is locked while NATS is asked, so that concurrent calls of Take cost one sample.
	mu     sync.Mutex
	last   *Sample
	points []Point
	waits  []time.Duration // the newest last
	next   uint64          // the sequence of the next record
	slow   slow
}

// New returns a Pulse that has taken no sample yet.
func New(cfg Config) *Pulse { return &Pulse{cfg: cfg} }

// A slow has the results of the slow readings.
type slow struct {
	at      time.Time
	failing inspect.Failing
	// unchecked is the time at which the oldest event that the coverage check has not passed was stored.
	unchecked, newest time.Time
	swept             inspect.Swept
}

// A Sample is the state of the work at an instant.
type Sample struct {
	At time.Time
	// PerSecond are the events that arrive; Newest is when the last one did, zero if none has.
	PerSecond float64
	Newest    time.Time
	// Now and Bulk are the customers that wait for a sync, by lane; Jobs are the jobs that are due.
	Now, Bulk, Jobs inspect.Backlog
	Failing         inspect.Failing
	// Median and Slow are the times from the webhook to the snapshot that half, and 95 of 100, of the
	// newest webhooks did not exceed. Waits is the number of these webhooks.
	Waits        int
	Median, Slow time.Duration
	// Budget is that of the fleet; nil before a syncer has used it. Used are the requests/s since the
	// sample before, negative if they are not known.
	Budget *budget.Standing
	Used   float64
	// Unchecked is the time at which the oldest event that the coverage check has not passed was stored;
	// zero if it has passed all.
	Unchecked time.Time
	// Swept is the result of the last nightly sweep; zero if there was none.
	Swept inspect.Swept
	// Points are the samples of the last minutes, the newest last.
	Points []Point

	server time.Time // the server's clock
}

// A Point is a sample in a chart. A value that is not known is nil.
type Point struct {
	At        time.Time
	PerSecond float64
	Dirty     uint64
	Median    *time.Duration // of the webhooks since the point before
	Used      *float64
}

// Take returns a sample that is fresh.
func (p *Pulse) Take(ctx context.Context) (*Sample, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.cfg.Now(); p.last != nil && now.Sub(p.last.At) < p.cfg.Fresh && !now.Before(p.last.At) {
		return p.last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	p.last = s
	return s, nil
}

func (p *Pulse) read(ctx context.Context) (*Sample, error) {
	i, err := p.cfg.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &Sample{At: p.cfg.Now().UTC(), Used: -1}
	var arrived uint64
	for _, read := range []func() error{
		func() (err error) { arrived, s.server, err = i.Arrived(ctx, window); return err },
		func() (err error) { s.Now, err = i.Lane(ctx, stripeevent.Now); return err },
		func() (err error) { s.Bulk, err = i.Lane(ctx, stripeevent.Bulk); return err },
		func() (err error) { s.Jobs, err = i.Jobs(ctx); return err },
		func() error { return p.readSlow(ctx, i, s.At) },
		func() error { return p.readBudget(ctx, i, s) },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	waits, next, err := i.Waits(ctx, p.next, waitsRead)
	if err != nil {
		return nil, err
	}
	p.next = next
	s.PerSecond = float64(arrived) / window.Seconds()
	s.Newest, s.Failing, s.Unchecked, s.Swept = p.slow.newest, p.slow.failing, p.slow.unchecked, p.slow.swept
	p.sum(s, waits)
	return s, nil
}

// readSlow makes the slow readings, if they are due.
func (p *Pulse) readSlow(ctx context.Context, i *inspect.Inspector, now time.Time) (err error) {
	if since := now.Sub(p.slow.at); since >= 0 && since < slowly {
		return nil
	}
	read := slow{at: now}
	if read.failing, err = i.Failing(ctx, time.Time{}); err != nil {
		return err
	}
	if read.unchecked, err = i.Unchecked(ctx); err != nil {
		return err
	}
	if read.newest, err = i.NewestEvent(ctx); err != nil {
		return err
	}
	if read.swept, err = i.Swept(ctx); err != nil {
		return err
	}
	p.slow = read
	return nil
}

func (p *Pulse) readBudget(ctx context.Context, i *inspect.Inspector, s *Sample) error {
	b, ok, err := i.Budget(ctx, s.server)
	if err != nil || !ok {
		return err
	}
	s.Budget = &b
	if p.last == nil || p.last.Budget == nil || b.Taken < p.last.Budget.Taken {
		return nil
	}
	if d := s.server.Sub(p.last.server); d > 0 && d <= usedOver {
		s.Used = float64(b.Taken-p.last.Budget.Taken) / d.Seconds()
	}
	return nil
}

// sum adds the new waits and the point of a sample.
func (p *Pulse) sum(s *Sample, waits []time.Duration) {
	p.waits = append(p.waits, waits...)
	p.waits = slices.Clone(p.waits[max(0, len(p.waits)-waitsKept):])
	if s.Waits = len(p.waits); s.Waits > 0 {
		s.Median, s.Slow = quantile(p.waits, 0.5), quantile(p.waits, 0.95)
	}
	point := Point{At: s.At, PerSecond: s.PerSecond, Dirty: s.Now.Len() + s.Bulk.Len()}
	if len(waits) > 0 && p.last != nil { // the first are of a time before
		m := quantile(waits, 0.5)
		point.Median = &m
	}
	if s.Used >= 0 {
		point.Used = &s.Used
	}
	old := func(x Point) bool { return s.At.Sub(x.At) > kept || x.At.After(s.At) }
	p.points = append(slices.DeleteFunc(slices.Clone(p.points), old), point)
	s.Points = p.points
}

// quantile returns the q-quantile: at least the share q of the values is at or below it.
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
