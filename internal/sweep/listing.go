package sweep

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"entitled/internal/stripeapi"
)

// A listing reads all subscriptions of an account, 100 a request, newest first.
//
// One cursor is limited by Stripe's latency. So the account is divided into windows of creation
// time that are read concurrently, the newest first. Their width follows from the pages before: a
// window has about windowPages pages, so that the last one, which is rarely full, costs little.
//
// Three kinds of goroutines share the work, and no lock. The coordinator owns the windows and the
// frontier; it does no I/O after the first page. A reader gets one window; it asks for each page,
// stores it, and only then sends it to the coordinator. One goroutine takes the pages, in the order
// in which the coordinator counted them.
type listing struct {
	list listsPages
	// keeper, if not nil, makes the listing resumable.
	keeper keepsPages
	// resumed, if not nil, is called once, with the number of pages that an earlier run had kept.
	resumed func(pages int)
	// take gets each page once, from one goroutine, and the frontier after that page: all
	// subscriptions that were created later are on this page or on one that take got before. It is
	// math.MinInt64 with the last page.
	take func(ctx context.Context, p page, frontier int64) error
}

type listsPages interface {
	Subscriptions(ctx context.Context, q stripeapi.PageQuery) (page, error)
}

// keepsPages stores how far a listing came, so that another run goes on from there.
type keepsPages interface {
	// windows are those of the earlier run, none if there was none. kept is a page of theirs; found
	// is false if that page was not kept.
	windows() []window
	kept(ctx context.Context, window, number int) (p page, found bool, err error)
	// planned stores all windows. It is called before the latest of them is read, and not
	// concurrently.
	planned(ctx context.Context, windows []window) error
	// keep stores a page before it counts. The pages of a window are numbered from 0.
	keep(ctx context.Context, window, number int, p page) error
}

// A windowPage is a page on its way from a reader to the coordinator.
type windowPage struct {
	of *progress
	page
}

// A countedPage is a page on its way from the coordinator to take.
type countedPage struct {
	page
	frontier int64
}

// run returns when take has had every page. If a page cannot be read, take has had every page
// counted before, and its context has not ended.
func (l *listing) run(ctx context.Context) error {
	var failed error
	counted := make(chan countedPage)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(counted)
		failed = l.coordinate(gctx, counted) // not returned: that would end the context of take
		return nil
	})
	g.Go(func() error {
		for p := range counted {
			if err := l.take(gctx, p.page, p.frontier); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return failed
}

// coordinate gives windows to readers, counts their pages, and sends each counted page on.
func (l *listing) coordinate(ctx context.Context, counted chan<- countedPage) error {
	var ws windows
	if err := l.begin(ctx, &ws, counted); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	read := make(chan windowPage)
	var waiting []countedPage // for take
	for gctx.Err() == nil {
		for w, fresh := ws.claim(); w != nil; w, fresh = ws.claim() {
			var plan []window
			if fresh {
				plan = ws.plan()
			}
			start := *w
			g.Go(func() error {
				return l.readWindow(gctx, start, plan, func(p page) error {
					return send(gctx, read, windowPage{of: w, page: p})
				})
			})
		}
		if ws.reading == 0 {
			break
		}
		from, to, next := read, counted, countedPage{}
		if len(waiting) == 0 {
			to = nil
		} else {
			next = waiting[0]
		}
		if len(waiting) == readers {
			from = nil // take is slower than Stripe: the readers wait
		}
		select {
		case p := <-from:
			ws.count(p.of, p.page)
			waiting = append(waiting, countedPage{p.page, ws.frontier()})
		case to <- next:
			waiting = waiting[1:]
		case <-gctx.Done():
		}
	}
	err := g.Wait()
	for _, p := range waiting {
		if sendErr := send(ctx, counted, p); sendErr != nil {
			return sendErr
		}
	}
	return err
}

// begin counts the pages that an earlier run kept. If there was none, it reads the account's newest
// page.
func (l *listing) begin(ctx context.Context, ws *windows, counted chan<- countedPage) error {
	if l.keeper != nil {
		if err := l.resume(ctx, ws, counted); err != nil {
			return err
		}
	}
	if len(ws.all) > 0 {
		return nil
	}
	p, err := l.list.Subscriptions(ctx, stripeapi.PageQuery{})
	if err != nil {
		return err
	}
	w := ws.first(p)
	if l.keeper != nil {
		if err := l.keeper.planned(ctx, ws.plan()); err != nil {
			return err
		}
	}
	if err := l.store(ctx, *w, 0, p); err != nil {
		return err
	}
	ws.count(w, p)
	return send(ctx, counted, countedPage{p, ws.frontier()})
}

func (l *listing) resume(ctx context.Context, ws *windows, counted chan<- countedPage) error {
	ws.restore(l.keeper.windows())
	if l.resumed != nil {
		defer func() { l.resumed(ws.pages) }()
	}
	for _, w := range ws.all {
		for !w.done {
			p, found, err := l.keeper.kept(ctx, w.index, w.pages)
			if err != nil {
				return err
			}
			if !found {
				break
			}
			ws.count(w, p)
			if err := send(ctx, counted, countedPage{p, ws.frontier()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// readWindow reads the pages of a window from where w is, and hands each one on when it is stored.
// plan, if not nil, is stored first.
func (l *listing) readWindow(ctx context.Context, w progress, plan []window, handOn func(page) error) error {
	if plan != nil && l.keeper != nil {
		if err := l.keeper.planned(ctx, plan); err != nil {
			return err
		}
	}
	for cursor, number := w.next, w.pages; ; number++ {
		p, err := l.list.Subscriptions(ctx, w.query(cursor))
		if err != nil {
			return err
		}
		if err := l.store(ctx, w, number, p); err != nil {
			return err
		}
		if err := handOn(p); err != nil {
			return err
		}
		if cursor = p.Next; cursor == "" {
			return nil
		}
	}
}

// store makes a page durable. Only then may it be counted.
func (l *listing) store(ctx context.Context, w progress, number int, p page) error {
	if p.Oldest != 0 && p.Oldest < w.From {
		return fmt.Errorf("list subscriptions: one created at %d in the window from %d", p.Oldest, w.From)
	}
	if l.keeper == nil {
		return nil
	}
	return l.keeper.keep(ctx, w.index, number, p)
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
