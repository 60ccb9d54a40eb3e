package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
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
	cmd.Ingest.MaxBody, cmd.Ingest.Tolerance, cmd.Ingest.PublishTimeout = "1 MiB", "5m", "5s"
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

// running is a dev in the background with all else that the tool can do beside it.
type running struct {
	nats, sim string
	out       *screen
	stop      func() int
}

var address = map[string]*regexp.Regexp{"nats": regexp.MustCompile(`nats://[\d.:]+`), "sim": regexp.MustCompile(`Stripe +(http://[\d.:]+)`)}

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

// settler has somebody buy Pro who is in no story, and so does not leave again however long the test takes.
func (r running) settler(t *testing.T, customer string) {
	t.Helper()
	r.waitFor(t, "✓ cus_Amelia") // the catalog is there
	res, err := http.Post(r.sim+"/_sim/checkout", "application/json", strings.NewReader(`{"customer":"`+customer+`","price":"price_pro_monthly"}`))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("checkout: %v, %v", res, err)
	}
	res.Body.Close() //nolint:errcheck // not read
	r.waitFor(t, "✓ "+customer)
}

func TestBesideDev(t *testing.T) {
	t.Parallel()
	r := startDev(t, "--pace=30ms")
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
		if code != 0 || !strings.HasPrefix(out, "yes export: access, ") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		code, out, errs := entitled(t, nil, append([]string{"get", "cus_Zoe", "--feature", "teleport"}, at...)...)
		if code != 1 || out != "no teleport: not among the features\n" || errs != "" {
			t.Errorf("exit code %d:\n%s%s", code, out, errs)
		}
	})
	t.Run("get unknown", func(t *testing.T) {
		code, _, errs := entitled(t, nil, append([]string{"get", "cus_Nobody"}, at...)...)
		if code != 1 || !strings.Contains(errs, "hint: read it from Stripe with `entitled sync cus_Nobody --mode test`") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
		code, _, errs = entitled(t, nil, append([]string{"get", "cus_Zoe", "--mode=live"}, at...)...)
		if code != 1 || !strings.Contains(errs, "there is no bucket entitlements_live") {
			t.Errorf("exit code %d:\n%s", code, errs)
		}
	})
	t.Run("sync", func(t *testing.T) {
		code, out, errs := entitled(t, nil, append([]string{"sync", "cus_Nobody"}, at...)...)
		if code != 0 || !strings.Contains(out, "✗ cus_Nobody  no access: the customer was deleted, or Stripe does not know it") {
			t.Errorf("exit code %d:\n%s%s", code, out, errs)
		}
		code, out, _ = entitled(t, nil, append([]string{"sync", "acct_EU/cus_Gus", "--json"}, at...)...)
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
			if h := line.Headline; code != 0 || err != nil || !strings.HasPrefix(h.Text, "Access since ") || !h.Known || !h.Access || h.How != "sync" || h.Since.IsZero() {
				t.Errorf("%v: exit code %d, %v:\n%s%s", more, code, err, out, errs)
			}
		}
	})
	t.Run("watch", func(t *testing.T) {
		code, out, errs := entitled(t, nil, append([]string{"watch", "--for=200ms", "cus_Zoe", "cus_Nemo", "acct_EU/cus_Gus"}, at...)...)
		// The stories go on meanwhile, and have no Nemo.
		if code != 0 || !strings.Contains(out, " cus_Zoe ") || !strings.Contains(out, "✗ cus_Nemo         unknown\n") || !strings.Contains(out, "acct_EU/cus_Gus") {
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
		for fault, want := range map[string]string{"error_500": "hint: Stripe has trouble: try again", "reset": "hint: Stripe did not answer"} {
			res, err := http.Post(r.sim+"/_sim/faults", "application/json", strings.NewReader(`{"`+fault+`":1}`))
			if err != nil || res.StatusCode >= 300 {
				t.Fatalf("%s: %v, %v", fault, res, err)
			}
			res.Body.Close() //nolint:errcheck // nothing in it
			code, _, errs := entitled(t, nil, append([]string{"sync", "cus_Zoe"}, at...)...)
			if code != 1 || !strings.Contains(errs, "(502)") || !strings.Contains(errs, want) || strings.Contains(errs, "permissions") {
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

// With what the banner says to paste, the commands that read Stripe read the simulated one, as the syncer does.
func TestCommandsReadTheSimulator(t *testing.T) {
	t.Parallel()
	r := startDev(t, "--pace=30ms")
	r.waitFor(t, "✓ cus_Chloe")
	env := map[string]string{"NATS_URL": r.nats}
	for _, m := range setting.FindAllStringSubmatch(r.out.String(), -1) {
		env[m[1]] = m[2]
	}
	if env["STRIPE_API_BASE"] != r.sim || len(env) != 5 {
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
		if args == "doctor" && !strings.Contains(out, "may list active entitlements") {
			t.Errorf("doctor did not try the key:\n%s", out)
		}
	}
	if text := r.out.String(); !strings.Contains(text, "entitled explain --nats-url "+r.nats+" cus_Amelia") {
		t.Errorf("no explain to try:\n%s", text)
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
