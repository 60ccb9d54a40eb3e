package dev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/term"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

// patience bounds what a test waits for; nothing takes nearly as long unless it is stuck.
const patience = 5 * time.Minute

// A screen is an output that may be read while it is written.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// config is a simulated Stripe and both daemons on ports that are free, with the settings that
// --help shows.
func config(t *testing.T, stdout io.Writer) Config {
	t.Helper()
	stderr := &screen{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("standard error:\n%s", stderr)
		}
	})
	var c daemon.Checker
	sy := syncerd.Settings{Base: "http://127.0.0.1", Rate: "200", CoverageEvery: "5m"}
	in := ingestd.Settings{MaxBody: "1 MiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "5s"}
	noEnv := func(string) string { return "" }
	cfg := Config{
		Simulated: true, Syncer: sy.Check(&c, SimulatedKey), Ingest: in.Check(&c),
		Tracing: c.Tracing(noEnv, "entitled-dev"),
		Listen:  "127.0.0.1:0", Admin: "127.0.0.1:0", NATS: "127.0.0.1:0", Sim: "127.0.0.1:0",
		Gateway: "127.0.0.1:0", ConsoleAddr: "127.0.0.1:0", Shop: "127.0.0.1:0",
		Out: term.New(stdout, noEnv), Err: term.New(stderr, noEnv), Self: "entitled",
	}
	shared := wiring.Shared{Marks: wiring.MarkSettings{}.Check(&c)}
	cfg.Syncer.Shared, cfg.Ingest.Shared = shared, shared
	cfg.Syncer.Timing = natstest.Timing
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// runUntil runs d until enough returns nil for the printed text, and then ends the run's time.
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

// changed reads the lines that json prints; anything else is an error.
func changed(t *testing.T, out string) []jsonLine {
	t.Helper()
	var lines []jsonLine
	for line := range strings.Lines(out) {
		var l jsonLine
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			if !strings.HasSuffix(line, "\n") {
				break // it is being written
			}
			t.Fatalf("line %q: %v", line, err)
		}
		lines = append(lines, l)
	}
	return lines
}

type jsonLine struct {
	Key      string
	Revision uint64
	Snapshot entitlement.Snapshot
}

func shows(text string) func(printed string) error {
	return func(printed string) error {
		if !strings.Contains(printed, text) {
			return fmt.Errorf("%q is not printed:\n%s", text, printed)
		}
		return nil
	}
}

// The last line of each customer agrees with the simulator's state at the end. The test computes
// that state with the simulator, not with the reducer.
func TestDevEndsWithTheTruth(t *testing.T) {
	t.Parallel()
	out := &screen{}
	cfg := config(t, out)
	cfg.Pace, cfg.JSON = 100*time.Millisecond, true
	d := newDev(cfg)
	err := errors.Join(d.runUntil(t, out, func(printed string) error {
		last := map[string]entitlement.Snapshot{}
		for _, l := range changed(t, printed) {
			last[l.Key] = l.Snapshot
		}
		// The stories are near their end.
		if len(last) < 9 || !last["cus_Farah"].Deleted || last["cus_Elif"].Status != "canceled" {
			return fmt.Errorf("%d customers, want 9, Farah deleted and Elif canceled:\n%s", len(last), printed)
		}
		return nil
	}), d.close())
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]entitlement.Snapshot{}
	for _, l := range changed(t, out.String()) {
		last[l.Key] = l.Snapshot
	}
	customers := d.stripe.Customers()
	if len(customers) != len(last) {
		t.Errorf("%d customers were shown, the simulator has %d", len(last), len(customers))
	}
	for _, c := range customers {
		account := d.stripe.Account
		if c.Account != "" {
			account = d.stripe.Connect(c.Account)
		}
		truth, _ := account.Truth(c.ID)
		key := entitlement.Key(c.Account, c.ID)
		if diff := cmp.Diff(truthOf(truth), said(last[key])); diff != "" {
			t.Errorf("%s (-simulator +last line):\n%s", key, diff)
		}
	}
	if seats := last["cus_Hana"].Limits["seats"]; seats != 12 {
		t.Errorf("cus_Hana has bought 12 seats and has %v", seats)
	}
	if ines := last["cus_Ines"]; ines.AccessUntil == nil || len(ines.Subscriptions) > 0 || ines.ID != "ines" {
		t.Errorf("cus_Ines has access by hand for a while, and is shown as %+v", ines)
	}
	if s := last["cus_Amelia"]; s.PlansRevision != 2 {
		t.Errorf("the last snapshot of cus_Amelia is decided under document %d, want the second", s.PlansRevision)
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
	// The documents of dev grant what the catalog's products do, and view to everybody, and Pro has sso
	// in the second.
	features := append(slices.Clone(truth.Entitlements), "view")
	if truth.Customer.Metadata["entitled_plan"] == "pro" {
		features = append(features, "export", "api_access")
	}
	if slices.Contains(features, "api_access") {
		features = append(features, "sso")
	}
	slices.Sort(features)
	f.Features = fmt.Sprint(slices.Compact(features))
	for _, s := range truth.Subscriptions {
		f.Subs[s.ID] = fmt.Sprint(s.Status, s.Items[0].Price, s.Items[0].Quantity, s.CurrentPeriodEnd,
			s.CancelAtPeriodEnd, s.EndedAt)
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
		f.Subs[sub.ID] = fmt.Sprint(sub.Status, sub.Items[0].Price, *sub.Items[0].Quantity, sub.CurrentPeriodEnd,
			sub.CancelAtPeriodEnd, ended)
	}
	return f
}

// The first change is among the first lines. The rest of the banner follows at the end, or is there
// at once with verbose.
func TestFirstLines(t *testing.T) {
	t.Parallel()
	for _, verbose := range []bool{false, true} {
		out := &screen{}
		cfg := config(t, out)
		cfg.Pace, cfg.Verbose = 30*time.Millisecond, verbose
		d := newDev(cfg)
		if err := errors.Join(d.runUntil(t, out, shows("✓ cus_Amelia")), d.close()); err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(out.String(), "\n✓ cus_")
		first, _, _ = strings.Cut(first, "\nplans document 2") // before the first change on a busy machine
		lines := 1 + strings.Count(first, "\n")
		if !verbose && lines > 8 {
			t.Errorf("%d lines before the first change, want at most 8:\n%s", lines, first)
		}
		if !strings.Contains(first, "gateway") || !strings.Contains(first, "get --nats-url nats://") {
			t.Errorf("the first lines name no address or no command to try:\n%s", first)
		}
		for _, word := range []string{"/metrics\n", "STRIPE_API_BASE=", "--data DIR"} {
			if strings.Contains(first, word) != verbose || strings.Contains(rest, word) == verbose {
				t.Errorf("verbose %t: %q must be in the first lines or at the end, once:\n%s", verbose, word, out)
			}
		}
	}
}

// A snapshot that is not what the simulator holds fails the check, and with it the command.
func TestDevCheckCanFail(t *testing.T) {
	t.Parallel()
	out := &screen{}
	cfg := config(t, out)
	cfg.Pace = 50 * time.Millisecond
	d := newDev(cfg)
	// A change without a webhook, made when all is at rest.
	d.atRest = func() {
		for _, c := range d.stripe.Customers() {
			if c.Account == "" && !c.Deleted {
				d.stripe.SetFaults(stripesim.Faults{WebhookDrop: 1})
				if err := d.stripe.UpdateCustomer(c.ID, map[string]string{"changed": "behind your back"}); err != nil {
					t.Error(err)
				}
				return
			}
		}
		t.Error("no customer to change")
	}
	err := d.runUntil(t, out, shows("✓ cus_Amelia"))
	if !errors.Is(err, ErrWrong) {
		t.Errorf("ended with %v, want a failure", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if !regexp.MustCompile(`✗ cus_\w+: metadata was shown as \{[^}]*\}, the simulator has \{"changed"`).MatchString(out.String()) {
		t.Errorf("printed:\n%s", out)
	}
}

// Data survives a restart, and no customer of the second run has the id of one of the first.
func TestDataIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	live := func(shown string) (out *screen, former int) {
		out = &screen{}
		cfg := config(t, out)
		cfg.Pace, cfg.Data = 30*time.Millisecond, dir
		d := newDev(cfg)
		// It comes to rest at its end, so that no marker is left of customers that the next run's
		// simulator does not know.
		err := d.runUntil(t, out, shows(shown))
		if s, ok := d.tally.known["cus_Amelia"]; ok && s.Access {
			former++
		}
		if err := errors.Join(err, d.close()); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		return out, former
	}
	live("✓ cus_Amelia ")
	out, former := live("✓ cus_Amelia_r2 ")
	// A plans document that is applied now may change it.
	if regexp.MustCompile(`cus_Amelia +new`).MatchString(out.String()) {
		t.Errorf("the state that was found is shown as a change:\n%s", out)
	}
	if former != 1 {
		t.Error("the second run did not find the customer of the first")
	}
}

// A document that somebody else applies stays in force.
func TestDocumentOfSomebodyElseStays(t *testing.T) {
	t.Parallel()
	out := &screen{}
	cfg := config(t, out)
	cfg.Pace = time.Hour // the first customer is enough
	d := newDev(cfg)
	err := d.runUntil(t, out, func(printed string) error {
		if err := shows("✓ cus_Amelia")(printed); err != nil {
			return err
		}
		bucket, now, err := d.plansInForce(t.Context())
		if err != nil {
			return err
		}
		if now.By == plansAuthor {
			mine, _, err := plans.Parse([]byte("plans: {pro: {match: {product: prod_pro}, features: [mine]}}"))
			if err != nil {
				return err
			}
			mine.Number = now.Number + 1
			if err := bucket.Apply(t.Context(), mine, now, "somebody", "a try"); err != nil {
				return err
			}
		}
		if number, err := d.applyPlans(t.Context(), secondPlans, "pro may use sso"); err != nil || number != 0 {
			t.Errorf("dev applied document %d over somebody's, %v", number, err)
		}
		// It has none of the shop's features.
		natstest.Eventually(t, patience, func() error {
			_, page := newVisitor(t).post(t, d.at.shop+"/login", url.Values{"user": {"ada"}})
			return shows("The plans document in force is not this shop")(page)
		})
		return nil
	})
	if err := errors.Join(err, d.close()); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}
