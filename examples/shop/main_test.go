package shop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/internal/browsertest"
	"entitled/internal/daemon"
	"entitled/internal/dev"
	"entitled/internal/natstest"
	"entitled/internal/term"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

func TestMain(m *testing.M) { natstest.Main(browsertest.Around(m)) }

// patience bounds a start, which takes a second.
const patience = time.Minute

var shopLine = regexp.MustCompile(`(?m)^ +shop +(http://\S+)$`)

// open runs what `entitled dev` runs, whose stories hardly begin, and returns the shop's address.
func open(t *testing.T) string {
	t.Helper()
	out, errs := &screen{}, &screen{}
	var c daemon.Checker
	in := ingestd.Settings{MaxBody: "1 MiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "5s"}
	noEnv := func(string) string { return "" }
	const any = "127.0.0.1:0"
	cfg := dev.Config{
		Simulated: true, Ingest: in.Check(&c), Tracing: c.Tracing(noEnv, "entitled-dev"),
		Syncer: syncerd.Settings{Base: "http://127.0.0.1", Rate: "200", CoverageEvery: "5m"}.Check(&c, dev.SimulatedKey),
		Listen: any, Admin: any, NATS: any, Sim: any, Gateway: any, ConsoleAddr: any, Shop: any, Pace: time.Hour,
		Out: term.New(out, noEnv), Err: term.New(errs, noEnv), Self: "entitled",
	}
	shared := wiring.Shared{Marks: wiring.MarkSettings{}.Check(&c)}
	cfg.Syncer.Shared, cfg.Ingest.Shared = shared, shared
	cfg.Syncer.Timing = natstest.Timing
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- dev.Run(ctx, cfg) }() // received below
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("dev: %v", err)
		}
		if t.Failed() {
			t.Logf("dev printed\n%s%s", out, errs)
		}
	})
	natstest.Eventually(t, patience, func() error {
		// Amelia, of the stories, buys when the catalog is there.
		if shopLine.FindString(out.String()) == "" || !bytes.Contains([]byte(out.String()), []byte("cus_Amelia ")) {
			return errors.New("dev has not begun")
		}
		return nil
	})
	return shopLine.FindStringSubmatch(out.String())[1]
}

// A screen is what a program has printed so far.
type screen struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// enter opens a page of a new user, at the plans.
func enter(t *testing.T, shop string, look browsertest.Look, name string) *browsertest.Page {
	t.Helper()
	p := browsertest.Open(t, look)
	p.Visit(shop)
	p.Fill("#name", name)
	p.Submit("form.row button")
	p.See("#pro")
	return p
}

// pay pays the payment page that is open.
func pay(p *browsertest.Page) {
	p.Click(`input[value="4242"]`)
	p.Submit(`button[value="pay"]`)
	p.See("#thanks")
}

// refused forgets the one error of the page that an answer with this status is, and fails if there were others.
func refused(t *testing.T, p *browsertest.Page, status string) {
	t.Helper()
	if got := p.Problems(); len(got) != 1 || !strings.Contains(got[0], "status of "+status) {
		t.Errorf("errors of the page: %q, want one of the status %s", got, status)
	}
}

// has is an expression of JavaScript: the app shows a feature as included, or not.
func has(feature string, on bool) string {
	return fmt.Sprintf("document.querySelector('[data-feature=%s]').classList.contains('on') === %t", feature, on)
}

// says is an expression of JavaScript: the app says something about the subscription.
func says(text string) string {
	return fmt.Sprintf("document.querySelector('#account').innerText.includes(%q)", text)
}
