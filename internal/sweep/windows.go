package sweep

import (
	"math"

	"entitled/internal/stripeapi"
)

// A window is a span of creation time in unix seconds: From is within it, Before is not. 0 leaves a
// side open.
type window struct {
	From   int64 `json:"from"`
	Before int64 `json:"before"`
}

// windows divides an account by creation time and knows how far each window was read. One goroutine
// owns it, the listing's coordinator. It performs no I/O and never waits.
type windows struct {
	all []*progress // the newest first
	// edge is the lower end of the oldest window: no window has the subscriptions created before it
	// yet. At 0 the windows reach back to the beginning.
	edge int64
	// span is how much time the last full page covered, in seconds.
	span int64
	// pages counts the pages of all windows.
	pages int
	// reading counts the windows that have a reader.
	reading int
}

// progress is how far one window was read.
type progress struct {
	window
	index    int
	next     string // the cursor of the next page
	position int64  // when the last subscription read so far was created
	pages    int
	found    int // subscriptions
	reading  bool
	done     bool
}

const (
	// readers bounds the windows that are read at the same time.
	readers = 8
	// windowPages is how many pages a window should have: its last page is rarely full, so a narrow
	// window wastes requests.
	windowPages = 24
	// FullPage is how many subscriptions a page has, unless it is a window's last.
	FullPage = 100
	// shortest is the least that a window spans, in seconds.
	shortest = 86400
	// founded is 2010-01-01, in unix seconds: no subscription at Stripe is older.
	founded = 1262304000
)

// restore sets the windows of a checkpoint, of which no page has been counted yet.
func (ws *windows) restore(all []window) {
	for _, w := range all {
		ws.add(w)
	}
}

// first sets the newest window. It ends where the newest page of the account does, because that
// page shows how dense the account is.
func (ws *windows) first(newest page) *progress {
	var w window
	if newest.Next != "" {
		w.From = newest.Oldest
	}
	return ws.add(w)
}

func (ws *windows) add(w window) *progress {
	p := &progress{window: w, index: len(ws.all), position: w.Before - 1}
	if w.Before == 0 {
		p.position = math.MaxInt64
	}
	ws.all = append(ws.all, p)
	ws.edge = w.From
	return p
}

// plan returns the spans of all windows.
func (ws *windows) plan() []window {
	all := make([]window, len(ws.all))
	for i, w := range ws.all {
		all[i] = w.window
	}
	return all
}

// claim returns the next window to read, nil if there is none now. As many windows are read at the
// same time as the pages so far justify: a small account is read with one cursor. fresh says that
// the window is new. A new one is added only after a page of the last one was counted, so at most
// one fresh window has no page.
func (ws *windows) claim() (w *progress, fresh bool) {
	if ws.reading >= min(1+ws.pages/4, readers) {
		return nil, false
	}
	for _, w := range ws.all {
		if !w.done && !w.reading {
			return ws.start(w), false
		}
	}
	if ws.edge == 0 || ws.all[len(ws.all)-1].pages == 0 {
		return nil, false
	}
	return ws.start(ws.add(ws.older())), true
}

func (ws *windows) start(w *progress) *progress {
	w.reading = true
	ws.reading++
	return w
}

// older is the span before the oldest window.
func (ws *windows) older() window {
	last := ws.all[len(ws.all)-1]
	width := max(ws.span*windowPages, shortest)
	if last.done && last.found <= FullPage && last.Before != 0 {
		// The account is sparse there, so the next window is wider.
		width = max(width, (last.Before-last.From)*windowPages)
	}
	w := window{Before: ws.edge}
	if from := ws.edge - width; from > founded {
		w.From = from
	}
	return w
}

// count moves a window forward by one page.
func (ws *windows) count(w *progress, p page) {
	ws.pages++
	w.pages++
	w.found += p.Count
	w.next, w.done = p.Next, p.Next == ""
	if p.Count > 0 {
		w.position = p.Oldest
		if p.Count == FullPage {
			ws.span = p.Newest - p.Oldest
		}
	}
	if w.done && w.reading {
		w.reading = false
		ws.reading--
	}
}

// frontier is the newest instant, in unix seconds, at which there may be a subscription that is on
// no counted page: every later one is on one. It is math.MinInt64 when the whole account was read.
func (ws *windows) frontier() int64 {
	f := ws.edge - 1
	open := ws.edge != 0
	for _, w := range ws.all {
		if !w.done && (!open || w.position > f) {
			f, open = w.position, true
		}
	}
	if !open {
		return math.MinInt64
	}
	return f
}

// query asks for the window's page at a cursor.
func (w window) query(cursor string) stripeapi.PageQuery {
	return stripeapi.PageQuery{CreatedFrom: w.From, CreatedBefore: w.Before, StartingAfter: cursor}
}
