package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A Look is how a page is shown: its size in CSS pixels, and whether the user prefers dark colours.
type Look struct {
	Width, Height int64
	Dark          bool
}

// The looks in which pages are tested.
var (
	Desktop = Look{Width: 1200, Height: 800}
	Phone   = Look{Width: 400, Height: 800}
)

// In returns the look in dark colours.
func (l Look) In(dark bool) Look {
	l.Dark = dark
	return l
}

func (l Look) String() string {
	colours := "light"
	if l.Dark {
		colours = "dark"
	}
	return fmt.Sprintf("%d-%s", l.Width, colours)
}

// patience bounds one step of a test in the browser. A step takes less than a second on an idle machine.
const patience = time.Minute

// A Page is one tab of the browser.
type Page struct {
	t        testing.TB
	ctx      context.Context
	problems *problems
	leaves   int // how often a page was left
}

// Open opens an empty page with cookies of its own, until the test ends. The test fails then if the page had an error.
func Open(t testing.TB, look Look) *Page {
	t.Helper()
	return open(t, look, browser(t), chromedp.WithNewBrowserContext())
}

// Tab opens another page of the same user: it shares cookies and storage with p.
func (p *Page) Tab(look Look) *Page {
	p.t.Helper()
	return open(p.t, look, p.ctx)
}

func open(t testing.TB, look Look, parent context.Context, options ...chromedp.ContextOption) *Page {
	t.Helper()
	p := &Page{t: t, problems: new(problems)}
	ctx, stop := chromedp.NewContext(parent, append(options, chromedp.WithListener(p.problems.note))...)
	p.ctx = ctx
	t.Cleanup(func() {
		// The answer comes after the events that the page caused before.
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[int]("0")); err != nil {
			t.Errorf("the page ended before the test: %v", err)
		}
		stop()
		for _, text := range p.problems.take() {
			t.Errorf("the page: %s", text)
		}
	})
	// The first call makes the tab, which lives as long as this context, so it has no deadline.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a page: %v", err)
	}
	p.Show(look)
	return p
}

// Show changes size and colours of the page. It also asks the page for reduced motion, because pictures and axe-core
// would see transitions half done.
func (p *Page) Show(look Look) {
	p.t.Helper()
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	p.Do(chromedp.EmulateViewport(look.Width, look.Height), chromedp.Func(
		func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme},
					{Name: "prefers-reduced-motion", Value: "reduce"}},
			})
			return err
		}))
}

// Do runs steps of chromedp. patience bounds each of them.
func (p *Page) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	for i, step := range steps {
		if _, err := run(p, step); err != nil {
			p.t.Fatalf("step %d of %d: %v%s", i+1, len(steps), err, p.where())
		}
	}
}

func run[T any](p *Page, step chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, step)
}

// Evaluate returns the value of an expression of JavaScript; for a promise, the value that it resolves to.
func Evaluate[T any](p *Page, expression string) T {
	p.t.Helper()
	v, err := run(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("evaluate %.100q: %v%s", expression, err, p.where())
	}
	return v
}

// Visit loads a page.
func (p *Page) Visit(url string) {
	p.t.Helper()
	p.Do(chromedp.Navigate(url))
}

// Click clicks the first element that a CSS selector finds, when it is visible.
func (p *Page) Click(css string) {
	p.t.Helper()
	if _, err := run(p, chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible)); err != nil {
		p.t.Fatalf("click %s: %v%s", css, err, p.where())
	}
}

// Submit clicks an element that leads to another page, or to the same one again, and waits for that.
func (p *Page) Submit(css string) {
	p.t.Helper()
	p.leave(func() { p.Click(css) })
}

// Back goes back in the history.
func (p *Page) Back() {
	p.t.Helper()
	p.leave(func() { Evaluate[int](p, "setTimeout(() => history.back())") })
}

// leave waits until do has led to another document.
func (p *Page) leave(do func()) {
	p.t.Helper()
	p.leaves++
	Evaluate[int](p, fmt.Sprintf("window.left = %d", p.leaves))
	do()
	p.Until(fmt.Sprintf("window.left !== %d && document.readyState === 'complete'", p.leaves))
}

// Fill replaces the text of a field.
func (p *Page) Fill(css, text string) {
	p.t.Helper()
	field := chromedp.CSS(css)
	if _, err := run(p, chromedp.Steps(chromedp.Clear(field), chromedp.SendKeys(field, text))); err != nil {
		p.t.Fatalf("fill %s: %v%s", css, err, p.where())
	}
}

// See waits for an element to be visible.
func (p *Page) See(css string) {
	p.t.Helper()
	if _, err := run(p, chromedp.WaitVisible(chromedp.CSS(css))); err != nil {
		p.t.Fatalf("see %s: %v%s", css, err, p.where())
	}
}

// Until waits until an expression of JavaScript is true, also on the pages that come meanwhile.
func (p *Page) Until(expression string) {
	p.t.Helper()
	step := chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience))
	for {
		_, err := run(p, step)
		switch {
		case err == nil:
			return
		case !left(err):
			p.t.Fatalf("until %s: %v%s", expression, err, p.where())
		}
	}
}

// left reports that a page was replaced by another while it was asked.
func left(err error) bool {
	var e *cdproto.Error
	return errors.As(err, &e) && (strings.Contains(e.Message, "navigated") || strings.Contains(e.Message, "context"))
}

// Text returns the text of an element as a user sees it.
func (p *Page) Text(css string) string {
	p.t.Helper()
	text, err := run(p, chromedp.Text(chromedp.CSS(css), chromedp.NodeVisible))
	if err != nil {
		p.t.Fatalf("the text of %s: %v%s", css, err, p.where())
	}
	return text
}

// Picture writes a PNG of the whole page, also of its part below the window, to a file.
func (p *Page) Picture(file string) {
	p.t.Helper()
	png, err := run(p, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		p.t.Fatalf("picture %s: %v", file, err)
	}
}

// where is the address and the text of the page, for the message of a failure.
func (p *Page) where() string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](
		"location.href + '\\n' + (document.body ? document.body.innerText : '')"))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("\nThe page is at %.2000s", text)
}
