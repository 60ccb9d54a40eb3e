package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"entitled/entitlement"
	"entitled/internal/dev"
	"entitled/internal/natstest"
	"entitled/stripesim"
)

// anywhere lets every listener take a port that is free.
var anywhere = []string{"--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--nats-addr=127.0.0.1:0",
	"--sim-addr=127.0.0.1:0", "--gateway-addr=127.0.0.1:0", "--console-addr=127.0.0.1:0"}

type jsonLine struct {
	Key      string               `json:"key"`
	Revision uint64               `json:"revision"`
	Snapshot entitlement.Snapshot `json:"snapshot"`
}

// readLines reads what --json printed; anything else on standard output is an error.
func readLines(t *testing.T, out string) []jsonLine {
	t.Helper()
	var lines []jsonLine
	scan := bufio.NewScanner(strings.NewReader(out))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l jsonLine
		dec := json.NewDecoder(bytes.NewReader(scan.Bytes()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			t.Fatalf("line %q: %v", scan.Text(), err)
		}
		lines = append(lines, l)
	}
	return lines
}

// closedPipe is a reader that went away, as head does.
type closedPipe struct{ lines int }

func (c *closedPipe) Write(p []byte) (int, error) {
	if c.lines--; c.lines < 0 {
		return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
	}
	return len(p), nil
}

func TestReaderGoesAway(t *testing.T) {
	t.Parallel()
	p, _, errs := process(nil, append([]string{"dev", "--json", "--pace=10ms"}, anywhere...)...)
	p.Stdout = &closedPipe{lines: 2}
	if code := run(t.Context(), p); code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
}

// With keys, dev reads the account that they are of, and simulates nothing.
func TestDevWithKeys(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := dev.StartSimulation(dev.SimulationConfig{Seed: 7, Listen: l})
	t.Cleanup(func() {
		if err := other.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := other.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	env := map[string]string{"STRIPE_API_KEY": "rk_test_mine", "STRIPE_WEBHOOK_SECRETS": "whsec_mine",
		"STRIPE_API_BASE": other.URL}
	p, out, errs := process(env, append([]string{"dev"}, anywhere...)...)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, p) }() // received below
	webhooks := regexp.MustCompile(`http://[\d.:]+/webhooks/stripe`)
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "stripe listen --forward-to http://") {
			return fmt.Errorf("does not say how to point Stripe's tool at it:\n%s%s", out, errs)
		}
		return nil
	})
	other.Deliver(webhooks.FindString(out.String()), "whsec_mine")
	if _, err := other.Checkout(stripesim.CheckoutParams{Customer: "cus_Real",
		Price: "price_pro_monthly"}); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "✓ cus_Real") {
			return fmt.Errorf("cus_Real does not show:\n%s%s", out, errs)
		}
		return nil
	})
	if n := strings.Count(out.String()[:strings.Index(out.String(), "✓ cus_Real")], "\n"); n > 8 {
		t.Errorf("%d lines before the first change, want at most 8:\n%s", n, out)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
	for _, secret := range []string{"rk_test_mine", "whsec_mine"} {
		if strings.Contains(out.String()+errs.String(), secret) {
			t.Errorf("%s is printed", secret)
		}
	}
}
