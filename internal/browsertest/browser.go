package browsertest

import (
	"context"
	"os/exec"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// A Runner runs tests, as testing.M does.
type Runner interface{ Run() int }

// shared is the browser of this test binary. open starts it once.
var shared struct {
	around bool // Around stops it
	once   sync.Once
	ctx    context.Context
	stop   context.CancelFunc
	err    error
}

// Around runs the tests of m, and stops the browser after the last.
func Around(m Runner) Runner {
	shared.around = true
	return around{m}
}

type around struct{ tests Runner }

func (a around) Run() int {
	code := a.tests.Run()
	if shared.stop != nil {
		shared.stop()
	}
	return code
}

// browser returns a context of the one browser, and skips the test if there is none on PATH.
func browser(t testing.TB) context.Context {
	t.Helper()
	if !shared.around {
		t.Fatal("TestMain must run the tests by browsertest.Around, which stops the browser")
	}
	if testing.Short() {
		t.Skip("a browser takes long, and adds nothing to what the race detector sees")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on PATH: apt-get install chromium, to run the tests in a browser")
	}
	shared.once.Do(func() {
		ctx, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(program),
			chromedp.Flag("hide-scrollbars", true),
			// Pictures are the same on machines with and without a graphics card.
			chromedp.Flag("disable-gpu", true),
			// chromedp finds no element of a page that the back button takes from a cache.
			chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,BackForwardCache"))...)
		tab, closeTab := chromedp.NewContext(ctx)
		shared.ctx, shared.stop = tab, func() { closeTab(); stop() }
		shared.err = chromedp.Do(tab)
	})
	if shared.err != nil {
		t.Fatalf("start %s: %v", program, shared.err)
	}
	return shared.ctx
}
