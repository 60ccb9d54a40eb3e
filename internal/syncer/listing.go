package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
)

// A listing reads all subscriptions of an account, 100 a request, newest first.
//
// One cursor is bound by Stripe's latency, so the account is cut into windows of creation time that are read side by side,
// the newest ones first. How wide they are follows from the pages before: about windowPages each, so that their last
// pages, which are seldom full, cost little.
type listing struct {
	list readsPages
	// keep, if not nil, makes a page durable before it counts; a window's pages are numbered from 0.
	keep func(ctx context.Context, window, number int, p page) error
	// planned, if not nil, makes the windows durable before the latest of them is read.
	planned func(ctx context.Context, windows []window) error
	// take gets each page once, one at a time, with the newest instant (in unix seconds) at which there may be a
	// subscription that was not listed yet: all that were created later were. It is math.MinInt64 when all were listed.
	take func(ctx context.Context, p page, frontier int64) error
	// resume, if not nil, counts the pages that were kept by an earlier run.
	resume func(ctx context.Context) error

	mu      sync.Mutex
	turn    *sync.Cond
	windows []*progress
	// edge is the lower end of the oldest window: what was created before it has no window yet. 0: all have.
	edge int64
	// pace is how much time the last full page covered, in seconds.
	pace   int64
	pages  int
	active int
	failed bool
}

type readsPages interface {
	Subscriptions(ctx context.Context, q stripeapi.PageQuery) (page, error)
}

// A window is a span of creation time in unix seconds: From is within it, Before is not. 0 leaves a side open.
type window struct {
	From   int64 `json:"from"`
	Before int64 `json:"before"`
}

// progress is how far a window was read.
type progress struct {
	window
	next  string // the cursor of the next page
	pos   int64  // when the last one listed was created
	pages int
	found int // subscriptions
	taken bool
	done  bool
}

// A page is what one request told, reduced: customers with those of their subscriptions that were on it.
type page struct {
	// AsOf is when the request started.
	AsOf       time.Time `json:"as_of"`
	Requests   int       `json:"requests"`
	RequestIDs []string  `json:"request_ids"`
	// Next is the cursor behind the page, empty at its window's end. Oldest and Newest are when subscriptions on it were created.
	Next      string     `json:"next,omitempty"`
	Oldest    int64      `json:"oldest"`
	Newest    int64      `json:"newest"`
	Count     int        `json:"count"`
	Customers []customer `json:"customers"`
}

type customer struct {
	ID            string                     `json:"id"`
	Created       int64                      `json:"created"`
	Deleted       bool                       `json:"deleted,omitempty"`
	Metadata      map[string]string          `json:"metadata,omitempty"`
	Subscriptions []entitlement.Subscription `json:"subscriptions"`
}

const (
	// readers bounds the windows that are read side by side.
	readers     = 8
	windowPages = 24
	fullPage    = 100
	// shortest is the least that a window spans, in seconds.
	shortest = 86400
	// founded is 2010-01-01, in unix seconds.
	founded = 1262304000
)

// run reads what was not read yet, and returns when all was.
func (r *listing) run(ctx context.Context) error {
	r.turn = sync.NewCond(&r.mu)
	defer context.AfterFunc(ctx, r.stop)()
	if r.resume != nil {
		if err := r.resume(ctx); err != nil {
			return err
		}
	}
	if len(r.windows) == 0 {
		if err := r.first(ctx); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for range readers {
		g.Go(func() error {
			for {
				i, w, err := r.claim(gctx)
				if err != nil {
					r.stop()
					return err
				}
				if w == nil {
					return nil
				}
				if err := r.readWindow(gctx, i, w); err != nil {
					r.stop()
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (r *listing) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.turn.Broadcast()
}

// first plans the newest window: it ends where the newest page does, which tells how dense the account is.
func (r *listing) first(ctx context.Context) error {
	p, err := r.list.Subscriptions(ctx, stripeapi.PageQuery{})
	if err != nil {
		return err
	}
	w := &progress{pos: math.MaxInt64}
	if p.Next != "" {
		w.From = p.Oldest
	}
	r.windows, r.edge = []*progress{w}, w.From
	if err := r.plan(ctx); err != nil {
		return err
	}
	return r.absorb(ctx, 0, w, p)
}

func (r *listing) plan(ctx context.Context) error {
	if r.planned == nil {
		return nil
	}
	all := make([]window, len(r.windows))
	for i, w := range r.windows {
		all[i] = w.window
	}
	return r.planned(ctx, all)
}

// claim returns a window to read, nil when there is none left. Side by side come as many as the pages so far justify: a
// small account is read with one cursor.
func (r *listing) claim(ctx context.Context) (int, *progress, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.failed {
			return 0, nil, ctx.Err()
		}
		room := r.active < 1+r.pages/4
		for i, w := range r.windows {
			if room && !w.done && !w.taken {
				w.taken = true
				r.active++
				return i, w, nil
			}
		}
		switch {
		case r.edge == 0 && r.active == 0:
			return 0, nil, nil
		case room && r.edge != 0 && r.windows[len(r.windows)-1].pages > 0:
			w := r.older()
			r.windows = append(r.windows, w)
			r.edge = w.From
			if err := r.plan(ctx); err != nil {
				return 0, nil, err
			}
			continue
		case r.edge == 0 && !r.untaken():
			return 0, nil, nil
		}
		r.turn.Wait()
	}
}

func (r *listing) untaken() bool {
	for _, w := range r.windows {
		if !w.done && !w.taken {
			return true
		}
	}
	return false
}

// older is the window before the oldest one.
func (r *listing) older() *progress {
	last := r.windows[len(r.windows)-1]
	w := &progress{window: window{Before: r.edge}, pos: r.edge - 1}
	width := max(r.pace*windowPages, shortest)
	if last.done && last.found <= fullPage && last.Before != 0 {
		// Sparse there: look further.
		width = max(width, (last.Before-last.From)*windowPages)
	}
	// Nothing is older than Stripe.
	if from := r.edge - width; from > founded {
		w.From = from
	}
	return w
}

func (r *listing) readWindow(ctx context.Context, i int, w *progress) error {
	for !w.done {
		p, err := r.list.Subscriptions(ctx, stripeapi.PageQuery{CreatedFrom: w.From, CreatedBefore: w.Before, StartingAfter: w.next})
		if err != nil {
			return err
		}
		if err := r.absorb(ctx, i, w, p); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active--
	r.turn.Broadcast()
	return nil
}

// absorb keeps a page, then counts it.
func (r *listing) absorb(ctx context.Context, i int, w *progress, p page) error {
	if w.From == 0 && w.Before == 0 {
		// The only page there is.
	} else if p.Oldest != 0 && p.Oldest < w.From {
		return fmt.Errorf("list subscriptions: one created at %d in the window from %d", p.Oldest, w.From)
	}
	if r.keep != nil {
		if err := r.keep(ctx, i, w.pages, p); err != nil {
			return err
		}
	}
	return r.count(ctx, w, p)
}

// count moves a window forward by a page that is kept.
func (r *listing) count(ctx context.Context, w *progress, p page) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.pages++
	w.found += p.Count
	r.pages++
	w.next, w.done = p.Next, p.Next == ""
	if p.Count > 0 {
		w.pos = p.Oldest
		if p.Count == fullPage {
			r.pace = p.Newest - p.Oldest
		}
	}
	r.turn.Broadcast()
	return r.take(ctx, p, r.frontier())
}

// frontier is the newest instant at which something may not be listed yet.
func (r *listing) frontier() int64 {
	f := r.edge - 1
	open := r.edge != 0
	for _, w := range r.windows {
		if !w.done && (!open || w.pos > f) {
			f, open = w.pos, true
		}
	}
	if !open {
		return math.MinInt64
	}
	return f
}

// accountReader lists the subscriptions of an account within the budget, and tries again what is worth it.
type accountReader struct {
	*store
	log     *slog.Logger
	account string
	policy  Policy
	// place takes a place in the budget.
	place func(ctx context.Context) error
}

// tries bounds the attempts at one page; the last comes about four minutes after the first.
const tries = 10

func (a *accountReader) Subscriptions(ctx context.Context, q stripeapi.PageQuery) (page, error) {
	var requests int
	for attempt := 1; ; attempt++ {
		if err := a.place(ctx); err != nil {
			return page{}, fmt.Errorf("list subscriptions: wait for a place in the Stripe budget: %w", err)
		}
		asOf := time.Now().UTC()
		got, trace, err := a.stripe.ListSubscriptions(ctx, a.account, q, a.place)
		requests += trace.Requests
		if err == nil {
			p := reducePage(got, a.policy, asOf)
			p.Requests, p.RequestIDs = requests, trace.RequestIDs
			return p, nil
		}
		if ctx.Err() != nil || attempt == tries || !a.worthwhile(ctx, err) {
			return page{}, err
		}
		pause := min(firstDelay<<(attempt-1), 30*time.Second)/2 + rand.N(firstDelay)
		if attempt > 1 {
			// A single failure is nobody's business.
			a.log.Warn("Stripe does not list the subscriptions, trying again", "attempt", attempt, "of", tries, "in", pause.Round(time.Second), "err", err)
		}
		if err := sleep(ctx, pause); err != nil {
			return page{}, err
		}
	}
}

// worthwhile reports whether the same request may succeed later, and slows the fleet down if Stripe asks for it.
func (a *accountReader) worthwhile(ctx context.Context, err error) bool {
	switch dispose(err) {
	case throttle:
		// Out of reach, the budget gives no places either.
		_ = a.Throttled(ctx)
		return true
	case retry, suspect:
		return true
	}
	return false
}

// reducePage groups what a page holds by customer.
func reducePage(got stripeapi.SubscriptionPage, policy Policy, asOf time.Time) page {
	p := page{AsOf: asOf, Next: got.Next, Count: len(got.Subscriptions)}
	at := make(map[string]int)
	for _, sub := range got.Subscriptions {
		if p.Newest == 0 || sub.Created > p.Newest {
			p.Newest = sub.Created
		}
		if p.Oldest == 0 || sub.Created < p.Oldest {
			p.Oldest = sub.Created
		}
		i, ok := at[sub.Customer.ID]
		if !ok {
			i = len(p.Customers)
			at[sub.Customer.ID] = i
			c := sub.Customer
			p.Customers = append(p.Customers, customer{
				ID: c.ID, Created: c.Created, Deleted: c.Deleted, Metadata: c.Metadata,
			})
		}
		p.Customers[i].Subscriptions = append(p.Customers[i].Subscriptions, reduceSubscription(sub, policy, asOf))
	}
	return p
}

// listingRefused tells an operator what to do about an answer of Stripe that ends a reading.
func listingRefused(err error) error {
	e, ok := errors.AsType[*stripeapi.Error](err)
	if ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		return fmt.Errorf("%w: mend the key, its permissions, or the account", err)
	}
	return err
}
