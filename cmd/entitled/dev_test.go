package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripesim"
)

// anywhere lets every listener take a port that is free.
var anywhere = []string{"--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--nats-addr=127.0.0.1:0", "--sim-addr=127.0.0.1:0"}

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

// newDev is a dev that a test runs step by step.
func newDev(t *testing.T, cmd devCmd, stdout *screen) *dev {
	t.Helper()
	p, _, stderr := process(nil)
	p.Stdout = stdout
	cmd.Listen, cmd.Admin, cmd.NATS, cmd.Sim = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cmd.Syncer.Base, cmd.Syncer.Grace, cmd.Syncer.CoverageEvery = "https://api.stripe.com", "72h", "5m"
	cmd.Ingest.MaxBody, cmd.Ingest.MaxBodies, cmd.Ingest.Tolerance, cmd.Ingest.PublishTimeout = "1 MiB", "64 MiB", "5m", "5s"
	s := newSession(p)
	plan, err := cmd.plan(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("standard error:\n%s", stderr)
		}
	})
	say := s.out
	if cmd.JSON {
		say = s.err
	}
	return &dev{session: s, cmd: cmd, plan: plan, began: time.Now(), say: say}
}

// runUntil runs d until enough says nil of what was printed, and then lets its time be over.
func (d *dev) runUntil(t *testing.T, out *screen, enough func(printed string) error) error {
	t.Helper()
	over := make(chan time.Time)
	d.over = over
	ended := make(chan error, 1)
	go func() { ended <- d.run(t.Context()) }() // received below
	natstest.Eventually(t, patience, func() error {
		select {
		case err := <-ended:
			ended <- err
			return nil
		default:
			return enough(out.String())
		}
	})
	close(over)
	return <-ended
}

func shows(text string) func(printed string) error {
	return func(printed string) error {
		if !strings.Contains(printed, text) {
			return fmt.Errorf("%q is not printed:\n%s", text, printed)
		}
		return nil
	}
}

// The last line of each customer is what the simulator holds at the end. The simulator's own account of the truth is asked,
// not the reducer.
func TestDevEndsWithTheTruth(t *testing.T) {
	t.Parallel()
	out := &screen{}
	d := newDev(t, devCmd{Pace: 100 * time.Millisecond, JSON: true}, out)
	err := errors.Join(d.runUntil(t, out, func(printed string) error {
		last := map[string]entitlement.Snapshot{}
		for _, l := range readLines(t, printed) {
			last[l.Key] = l.Snapshot
		}
		// The stories are near their end.
		if len(last) < 7 || !last["cus_Farah"].Deleted || last["cus_Elif"].Status != "canceled" {
			return fmt.Errorf("%d customers, want 7, Farah deleted and Elif canceled:\n%s", len(last), printed)
		}
		return nil
	}), d.close())
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Stderr)
	}
	last := map[string]entitlement.Snapshot{}
	for _, l := range readLines(t, out.String()) {
		last[l.Key] = l.Snapshot
	}
	customers := d.sim.Customers()
	if len(customers) != len(last) {
		t.Errorf("%d customers were shown, the simulator has %d", len(last), len(customers))
	}
	for _, c := range customers {
		account := d.sim.Account
		if c.Account != "" {
			account = d.sim.Connect(c.Account)
		}
		truth, _ := account.Truth(c.ID)
		key := entitlement.Key(c.Account, c.ID)
		if diff := cmp.Diff(truthOf(truth), said(last[key])); diff != "" {
			t.Errorf("%s (-simulator +last line):\n%s", key, diff)
		}
	}
	if _, err := os.Stat(d.store.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

// facts are what both sides can say of a customer.
type facts struct {
	Deleted  bool
	Features string
	Subs     map[string]string
}

func truthOf(truth stripesim.Truth) facts {
	f := facts{Deleted: truth.Customer.Deleted, Subs: map[string]string{}}
	if f.Deleted {
		return f // a deleted customer has nothing
	}
	f.Features = fmt.Sprint(slices.Sorted(slices.Values(truth.Entitlements)))
	for _, s := range truth.Subscriptions {
		f.Subs[s.ID] = fmt.Sprint(s.Status, s.Items[0].Price, s.Items[0].Quantity, s.CurrentPeriodEnd, s.CancelAtPeriodEnd, s.EndedAt)
	}
	return f
}

func said(s entitlement.Snapshot) facts {
	f := facts{Deleted: s.Deleted, Subs: map[string]string{}}
	if f.Deleted {
		return f
	}
	f.Features = fmt.Sprint(s.Features)
	for _, sub := range s.Subscriptions {
		ended := int64(0)
		if sub.EndedAt != nil {
			ended = *sub.EndedAt
		}
		f.Subs[sub.ID] = fmt.Sprint(sub.Status, sub.Items[0].Price, *sub.Items[0].Quantity, sub.CurrentPeriodEnd, sub.CancelAtPeriodEnd, ended)
	}
	return f
}

// A snapshot that is not what the simulator holds fails the check, and with it the command.
func TestDevCheckCanFail(t *testing.T) {
	t.Parallel()
	out := &screen{}
	d := newDev(t, devCmd{Pace: 50 * time.Millisecond}, out)
	// A change that no webhook tells of, made when all is at rest.
	d.atRest = func() {
		for _, c := range d.sim.Customers() {
			if c.Account == "" && !c.Deleted {
				d.sim.SetFaults(stripesim.Faults{WebhookDrop: 1})
				if err := d.sim.UpdateCustomer(c.ID, map[string]string{"changed": "behind your back"}); err != nil {
					t.Error(err)
				}
				return
			}
		}
		t.Error("no customer to change")
	}
	err := d.runUntil(t, out, shows("✓ cus_Amelia"))
	if !errors.Is(err, errSilent) {
		t.Errorf("ended with %v, want a failure", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if !regexp.MustCompile(`✗ cus_\w+: metadata was shown as \{\}, the simulator has \{"changed"`).MatchString(out.String()) {
		t.Errorf("printed:\n%s", out)
	}
}

// Data survives a restart, and no customer of the second run has the id of one of the first.
func TestDataIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	// It comes to rest at its end, so that no marker is left of customers whom the next run's simulator does not know.
	first := &screen{}
	d := newDev(t, devCmd{Pace: 30 * time.Millisecond, Data: dir}, first)
	if err := errors.Join(d.runUntil(t, first, shows("✓ cus_Amelia ")), d.close()); err != nil {
		t.Fatalf("%v:\n%s", err, first)
	}
	r := startDev(t, "--pace=30ms", "--data", dir)
	r.waitFor(t, "✓ cus_Amelia_r2 ")
	if strings.Contains(r.out.String(), "✓ cus_Amelia ") {
		t.Errorf("the state that was found is shown as a change:\n%s", r.out)
	}
	code, out, errs := entitled(t, nil, "get", "cus_Amelia", "--nats-url", r.nats)
	if code != 0 || !strings.Contains(out, "access, active") {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
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
	other := startSimulation(simulationConfig{seed: 7, listen: l})
	t.Cleanup(func() {
		if err := other.stop(); err != nil {
			t.Error(err)
		}
	})
	if err := other.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	env := map[string]string{"STRIPE_API_KEY": "rk_test_mine", "STRIPE_WEBHOOK_SECRETS": "whsec_mine", "STRIPE_API_BASE": other.url}
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
	other.deliver(webhooks.FindString(out.String()), "whsec_mine")
	if _, err := other.Checkout(stripesim.CheckoutParams{Customer: "cus_Real", Price: "price_pro_monthly"}); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "✓ cus_Real") {
			return fmt.Errorf("cus_Real does not show:\n%s%s", out, errs)
		}
		return nil
	})
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
