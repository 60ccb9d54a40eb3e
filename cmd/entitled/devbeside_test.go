package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// running is a dev in the background with all else that the tool can do beside it.
type running struct {
	nats, sim string
	out       *screen
	stop      func() int
}

var address = map[string]*regexp.Regexp{"nats": regexp.MustCompile(`nats://[\d.:]+`),
	"sim": regexp.MustCompile(`Stripe +(http://[\d.:]+)`)}

func startDev(t *testing.T, args ...string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p, out, errs := process(nil, append(append([]string{"dev"}, anywhere...), args...)...)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, p) }() // stop receives
	r := running{out: out}
	code, stopped := 0, false
	r.stop = func() int {
		cancel()
		if !stopped {
			code, stopped = <-ended, true
		}
		return code
	}
	t.Cleanup(func() { r.stop() })
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "req") {
			return fmt.Errorf("no banner yet:\n%s%s", out, errs)
		}
		return nil
	})
	r.nats = address["nats"].FindString(out.String())
	if m := address["sim"].FindStringSubmatch(out.String()); m != nil {
		r.sim = m[1]
	}
	return r
}

func (r running) waitFor(t *testing.T, text string) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(r.out.String(), text) {
			return fmt.Errorf("%q is not printed:\n%s", text, r.out)
		}
		return nil
	})
}

// settler creates a customer of no story that buys Pro, and so keeps it however long the test takes.
func (r running) settler(t *testing.T, customer string) {
	t.Helper()
	r.waitFor(t, "✓ cus_Amelia") // the catalog is there
	res, err := http.Post(r.sim+"/_sim/checkout", "application/json",
		strings.NewReader(`{"customer":"`+customer+`","price":"price_pro_monthly"}`))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("checkout: %v, %v", res, err)
	}
	res.Body.Close() //nolint:errcheck // not read
	r.waitFor(t, "✓ "+customer)
}

func TestBesideDev(t *testing.T) {
	t.Parallel()
	r := startDev(t, "--pace=30ms")
	// The first record of a customer that is created while a document is applied is of a change.
	r.waitFor(t, "plans document 2 is applied")
	r.settler(t, "cus_Zoe")
	r.waitFor(t, "✓ acct_EU/cus_Gus")
	at := []string{"--nats-url", r.nats}

	t.Run("get", func(t *testing.T) {
		code, out, errs := entitled(t, nil, append([]string{"get", "cus_Zoe"}, at...)...)
		if code != 0 || !strings.HasPrefix(out, "✓ cus_Zoe  access, ") {
			t.Errorf("exit code %d:\n%s%s", code, out, errs)
		}
		code, out, _ = entitled(t, nil, append([]string{"get", "cus_Zoe", "--json"}, at...)...)
		if s, err := entitlement.Decode([]byte(out)); code != 0 || err != nil || s.Customer != "cus_Zoe" {
			t.Errorf("exit code %d, %v:\n%s", code, err, out)
		}
	})
	t.Run("feature", func(t *testing.T) {
		code, out, _ := entitled(t, nil, append([]string{"get", "cus_Zoe", "--feature", "export"}, at...)...)
		if code != 0 || !strings.HasPrefix(out, "yes export: granted by plan pro ") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		code, out, errs := entitled(t, nil, append([]string{"get", "cus_Zoe", "--feature", "teleport"}, at...)...)
		if code != 1 || !strings.HasPrefix(out, "no teleport: not among the features of ") || errs != "" {
			t.Errorf("exit code %d:\n%s%s", code, out, errs)
		}
	})
	t.Run("get unknown", func(t *testing.T) {
		code, _, errs := entitled(t, nil, append([]string{"get", "cus_Nobody"}, at...)...)
		if code != 1 || !strings.Contains(errs,
			"hint: read it from Stripe with `entitled sync cus_Nobody --mode test`") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
		code, _, errs = entitled(t, nil, append([]string{"get", "cus_Zoe", "--mode=live"}, at...)...)
		if code != 1 || !strings.Contains(errs, "there is no bucket entitlements_live") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
	})
	t.Run("sync", func(t *testing.T) {
		code, _, errs := entitled(t, nil, append([]string{"sync", "cus_Nobody"}, at...)...)
		if code != 1 || !strings.Contains(errs, "no such customer in Stripe (404)") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
		code, _, errs = entitled(t, nil, append([]string{"get", "cus_Nobody"}, at...)...)
		if code != 1 || !strings.Contains(errs, "no snapshot of cus_Nobody") {
			t.Errorf("a customer that Stripe does not know has an entry: exit code %d:\n%s", code, errs)
		}
		code, out, _ := entitled(t, nil, append([]string{"sync", "acct_EU/cus_Gus", "--json"}, at...)...)
		if s, err := entitlement.Decode([]byte(out)); code != 0 || err != nil || s.Account != "acct_EU" {
			t.Errorf("exit code %d, %v:\n%s", code, err, out)
		}
		code, _, errs = entitled(t, nil, append([]string{"sync", "acct_nobody/cus_1"}, at...)...)
		if code != 1 || !strings.Contains(errs, "(502)") || !strings.Contains(errs, "hint: Stripe refused") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
		code, _, errs = entitled(t, nil, append([]string{"sync", "cus_Zoe", "--mode=live"}, at...)...)
		if code != 1 || !strings.Contains(errs, "no syncer of mode live is running") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
	})
	t.Run("explain", func(t *testing.T) {
		code, out, errs := entitled(t, nil, append([]string{"explain", "cus_Zoe"}, at...)...)
		if code != 0 || !regexp.MustCompile(`^✓ cus_Zoe  access, .*\n  Access since \d{4}-`).MatchString(out) {
			t.Errorf("exit code %d:\n%s%s", code, out, errs)
		}
		for _, more := range [][]string{{}, {"--at=0s"}} {
			code, out, errs = entitled(t, nil, slices.Concat([]string{"explain", "cus_Zoe", "--json"}, more, at)...)
			var line struct {
				Headline struct {
					Text   string
					Known  bool
					Access bool
					How    string
					Since  time.Time
				}
			}
			err := json.Unmarshal([]byte(out), &line)
			if h := line.Headline; code != 0 || err != nil || !strings.HasPrefix(h.Text, "Access since ") ||
				!h.Known || !h.Access || h.How != "sync" || h.Since.IsZero() {
				t.Errorf("%v: exit code %d, %v:\n%s%s", more, code, err, out, errs)
			}
		}
	})
	t.Run("watch", func(t *testing.T) {
		code, out, errs := entitled(t, nil, append([]string{"watch", "--for=200ms", "cus_Zoe", "cus_Nemo",
			"acct_EU/cus_Gus"}, at...)...)
		// The stories go on meanwhile, and have no Nemo.
		if code != 0 || !strings.Contains(out, " cus_Zoe ") ||
			!strings.Contains(out, "✗ cus_Nemo         unknown\n") || !strings.Contains(out, "acct_EU/cus_Gus") {
			t.Errorf("exit code %d:\n%s%s", code, out, errs)
		}
		code, out, errs = entitled(t, nil, append([]string{"watch", "--json", "--for=200ms"}, at...)...)
		if n := len(readLines(t, out)); code != 0 || n < 5 {
			t.Errorf("exit code %d, %d lines:\n%s", code, n, errs)
		}
		code, _, errs = entitled(t, nil, append([]string{"watch", "--mode=live", "--for=5s"}, at...)...)
		if code != 1 || !strings.Contains(errs, "hint: start a syncer of mode live") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
	})
	t.Run("topology", func(t *testing.T) {
		code, out, errs := entitled(t, nil, append([]string{"topology"}, at...)...)
		if code != 0 || errs != "" {
			t.Errorf("exit code %d: %s", code, errs)
		}
		golden(t, "topology-ok.txt", out)
	})
	t.Run("sync while Stripe has trouble", func(t *testing.T) {
		for fault, want := range map[string]string{"error_500": "hint: Stripe has trouble: try again",
			"reset": "hint: Stripe did not answer"} {
			res, err := http.Post(r.sim+"/_sim/faults", "application/json", strings.NewReader(`{"`+fault+`":1}`))
			if err != nil || res.StatusCode >= 300 {
				t.Fatalf("%s: %v, %v", fault, res, err)
			}
			res.Body.Close() //nolint:errcheck // nothing in it
			code, _, errs := entitled(t, nil, append([]string{"sync", "cus_Zoe"}, at...)...)
			if code != 1 || !strings.Contains(errs, "(502)") || !strings.Contains(errs, want) ||
				strings.Contains(errs, "permissions") {
				t.Errorf("%s: exit code %d:\n%s", fault, code, errs)
			}
		}
	})
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d when asked to stop, want 0", code)
	}
	if !regexp.MustCompile(`\n.+ +\d+ customers · \d+ changes · \d+ webhooks`).MatchString(r.out.String()) {
		t.Errorf("no summary:\n%s", r.out)
	}
}

var setting = regexp.MustCompile(`\b([A-Z_]+)=(\S+) `)

// With the settings that --verbose prints to paste, the commands that read Stripe read the
// simulated one, as the syncer does.
func TestCommandsReadTheSimulator(t *testing.T) {
	t.Parallel()
	// The simulated customers' first weeks are enough. After 30 days of the simulator's clock an event is
	// gone, as at Stripe, also between two pages of recover's listing.
	r := startDev(t, "--pace=2s", "--verbose")
	r.waitFor(t, "✓ cus_Chloe")
	env := map[string]string{"NATS_URL": r.nats}
	for _, m := range setting.FindAllStringSubmatch(r.out.String(), -1) {
		env[m[1]] = m[2]
	}
	if env["STRIPE_API_BASE"] != r.sim || len(env) != 4 {
		t.Fatalf("the banner names %v:\n%s", env, r.out)
	}
	for _, args := range []string{"doctor", "backfill", "sweep", "recover", "explain cus_Chloe --check"} {
		code, out, errs := entitled(t, env, strings.Fields(args)...)
		// A customer may change between the snapshot and the comparison.
		if code != 0 && !(strings.HasSuffix(args, "--check") && strings.Contains(out, "  Stripe  ")) {
			t.Errorf("%s: exit code %d:\n%s%s", args, code, out, errs)
		}
		if strings.Contains(out+errs, "api.stripe.com") {
			t.Errorf("%s asked Stripe:\n%s%s", args, out, errs)
		}
		if args == "doctor" && !strings.Contains(out, "may list subscriptions") {
			t.Errorf("doctor did not try the key:\n%s", out)
		}
	}
	if text := r.out.String(); !strings.Contains(text, "entitled explain --nats-url "+r.nats+" cus_Amelia") {
		t.Errorf("no explain to try:\n%s", text)
	}
}
