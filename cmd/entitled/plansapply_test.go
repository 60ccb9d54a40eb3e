package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/term"
	"entitled/internal/topology"
)

// planned is a memory with customers, and a way to give it documents.
type planned struct {
	*memory
	file string
}

func newPlanned(t *testing.T) *planned {
	t.Helper()
	p := &planned{newMemory(t), filepath.Join(t.TempDir(), "plans.yaml")}
	for _, c := range []struct{ id, price string }{
		{"cus_Amelia", "pro_monthly"}, {"cus_Boris", "pro_monthly"}, {"cus_Chloe", "basic_monthly"}, {"cus_Dora", "legacy"},
	} {
		s := snapshotOf(c.id, "active", nil, subscribed("sub_"+c.id[4:], "active", c.price))
		three := int64(3)
		s.Subscriptions[0].Items[0].Quantity = &three
		plans.Decide(&s, nil)
		p.put(t, &s)
	}
	return p
}

// plans writes the document into the file and runs a command of entitled plans, or explain.
func (p *planned) plans(t *testing.T, code int, document string, args ...string) (out, errs string) {
	t.Helper()
	if err := os.WriteFile(p.file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, arg := range args {
		if arg == "FILE" {
			args[i] = p.file
		}
	}
	if args[0] != "explain" {
		args = append([]string{"plans"}, args...)
	}
	out, errs = p.run(t, code, args...)
	return p.shown(out), p.shown(errs)
}

var clocks = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`)

func (p *planned) shown(text string) string {
	return clocks.ReplaceAllString(strings.ReplaceAll(text, p.file, "plans.yaml"), "2026-12-01 09:00:00 UTC")
}

func (p *planned) kv(t *testing.T) jetstream.KeyValue {
	t.Helper()
	kv, err := p.js.KeyValue(t.Context(), topology.PlansBucket)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// decide decides every customer under the document in force, as syncers do.
func (p *planned) decide(t *testing.T) {
	t.Helper()
	e, err := p.kv(t).Get(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := plans.Parse(e.Value())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := p.js.KeyValue(t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"cus_Amelia", "cus_Boris", "cus_Chloe", "cus_Dora"} {
		e, err := kv.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		s, err := entitlement.Decode(e.Value())
		if err != nil {
			t.Fatal(err)
		}
		if !plans.Decide(&s, doc) {
			t.Fatalf("%s: not decided", id)
		}
		p.put(t, &s)
	}
}

const firstPlans = `plans:
  pro:
    match: {lookup_key: pro_*, product: prod_1}
    features: [export, sso]
    limits: {seats: {per_unit: 1}, projects: 50}
  basic:
    match: {lookup_key: basic_monthly, product: prod_1}
    features: [export]
    limits: {projects: 5}
default:
  features: [view]
`

const secondPlans = `unmatched: deny
plans:
  pro:
    match: {lookup_key: pro_*, product: prod_1}
    features: [export, sso, audit]
    limits: {seats: {base: 2, per_unit: 1}, projects: unlimited}
  basic:
    match: {lookup_key: basic_monthly, product: prod_1}
    limits: {projects: 3}
`

// A document is compared, applied, shown, listed and taken back.
func TestPlansApply(t *testing.T) {
	t.Parallel()
	p := newPlanned(t)
	out, _ := p.plans(t, 0, firstPlans, "diff", "FILE")
	golden(t, "plans-diff.txt", out)
	for _, width := range []int{40, 60, 100} {
		code, out, _ := entitled(t, map[string]string{"COLUMNS": fmt.Sprint(width)},
			append([]string{"plans", "diff", p.file}, p.at...)...)
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
		golden(t, fmt.Sprintf("plans-diff-%d.txt", width), p.shown(out))
		for line := range strings.Lines(out) {
			if n := term.Columns(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns in %d: %s", n, width, line)
			}
		}
	}
	out, errs := p.plans(t, 2, firstPlans, "apply", "FILE")
	golden(t, "plans-apply-unconfirmed.txt", out+errs)
	if _, err := p.kv(t).Get(t.Context(), "test"); err == nil {
		t.Fatal("it was applied without --yes")
	}
	out, _ = p.plans(t, 0, firstPlans, "apply", "FILE", "--yes", "--by", "amelia", "--why", "the first plans")
	golden(t, "plans-apply.txt", out)
	p.decide(t)
	if out, _ := p.plans(t, 0, firstPlans, "apply", "FILE", "--yes"); !strings.Contains(out, "nothing was applied") {
		t.Errorf("applied again:\n%s", out)
	}
	out, _ = p.plans(t, 0, secondPlans, "diff", "FILE")
	golden(t, "plans-diff-second.txt", out)
	out, _ = p.plans(t, 0, secondPlans, "diff", "FILE", "--customer", "cus_Amelia")
	golden(t, "plans-diff-customer.txt", out)
	p.plans(t, 0, secondPlans, "apply", "FILE", "--yes", "--by", "boris", "--why", "unlimited projects for pro")
	p.decide(t)
	out, _ = p.plans(t, 0, "", "revert", "1", "--yes", "--by", "amelia", "--why", "sso was promised to basic")
	golden(t, "plans-revert.txt", out)
	out, _ = p.plans(t, 0, "", "log")
	golden(t, "plans-log.txt", out)
	out, _ = p.plans(t, 0, "", "show")
	golden(t, "plans-show.txt", out)
	reverted, _ := p.plans(t, 0, "", "show", "--json")
	first, _ := p.plans(t, 0, "", "show", "1", "--json")
	if strings.ReplaceAll(reverted, `"number":3`, `"number":1`) != first {
		t.Errorf("document 3 is not document 1:\n%s%s", reverted, first)
	}
	out, errs = p.plans(t, 1, "", "show", "9")
	golden(t, "plans-show-unknown.txt", out+errs)
}

// All mistakes are printed, and nothing is applied.
func TestPlansApplyMistakes(t *testing.T) {
	t.Parallel()
	p := newPlanned(t)
	for _, command := range []string{"diff", "apply"} {
		out, errs := p.plans(t, 2, "features: [export]\nplans: {pro: {features: [exprot], limits: {seats: -1}}}\n", command,
			"FILE")
		if out != "" || strings.Count(errs, "plans.yaml:2:") != 2 {
			t.Errorf("%s printed %s%s", command, out, errs)
		}
	}
	p.plans(t, 2, "{}", "apply", "FILE", "--yes", "--why", "two\nlines")
	if _, err := p.kv(t).Get(t.Context(), "test"); err == nil {
		t.Error("something was applied")
	}
}

// A document that is lost, deleted, foreign or older than the snapshots is replaced by one with a
// greater number than any snapshot has.
func TestPlansApplyOverALostDocument(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lose func(*testing.T, *planned)
		says string
	}{
		"deleted": {func(t *testing.T, p *planned) {
			if err := p.kv(t).Delete(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
		}, "it was deleted"},
		"emptied": {func(t *testing.T, p *planned) {
			s, err := p.js.Stream(t.Context(), "KV_"+topology.PlansBucket)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, "it is lost"},
		"foreign": {func(t *testing.T, p *planned) {
			if _, err := p.kv(t).Put(t.Context(), "test", []byte("hello")); err != nil {
				t.Fatal(err)
			}
		}, "is no document"},
		"older": {func(t *testing.T, p *planned) {
			e, err := p.kv(t).Get(t.Context(), "test.1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.kv(t).Put(t.Context(), "test", e.Value()); err != nil {
				t.Fatal(err)
			}
		}, "older than the snapshots"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlanned(t)
			p.plans(t, 0, firstPlans, "apply", "FILE", "--yes")
			p.plans(t, 0, secondPlans, "apply", "FILE", "--yes")
			p.decide(t)
			c.lose(t, p)
			out, _ := p.plans(t, 0, secondPlans, "apply", "FILE", "--yes", "--json")
			var row applyRow
			if err := json.Unmarshal([]byte(out), &row); err != nil {
				t.Fatal(err)
			}
			if row.Number != 3 || !row.Applied || !strings.Contains(row.Diff.Against, c.says) || row.Diff.Changed != 0 {
				t.Errorf("%s", out)
			}
		})
	}
}

// decided changes every snapshot as if a syncer had decided it under a document, from entitlements.
func (p *planned) decided(t *testing.T, number uint64, entitlements []string) {
	t.Helper()
	bucket := entitlement.Bucket(entitlement.Test)
	kv, err := p.js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	for item, err := range streams.Items(t.Context(), p.js, bucket) {
		if err != nil {
			t.Fatal(err)
		}
		s, err := entitlement.Decode(item.Value)
		if err == nil {
			s.PlansRevision, s.Entitlements = number, entitlements
			_, err = kv.Put(t.Context(), item.Key, s.Encode())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// --wait returns when the syncers have decided every customer under the document, or a later one. It
// names a deciding syncer that is silent.
func TestPlansApplyWait(t *testing.T) {
	t.Parallel()
	p := newPlanned(t)
	state, err := p.js.KeyValue(t.Context(), topology.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.kv(t).Watch(t.Context(), "test", jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	note := func(entry string) {
		if _, err := state.Put(t.Context(), "decided.test", []byte(entry)); err != nil {
			t.Error(err)
		}
	}
	note(`{"number":0,"deciding":0}`)
	ended := make(chan string)
	go func() { // the test waits for it
		_, errs := p.plans(t, 0, firstPlans, "apply", "FILE", "--yes", "--wait")
		ended <- errs
	}()
	<-w.Updates()
	note(`{"number":0,"running":true,"deciding":1,"done":2,"total":4,"by":"host-1 (process 7)"}`)
	select {
	case errs := <-ended:
		t.Fatalf("it returns too early: %s", errs)
	default:
	}
	p.decided(t, 1, nil)
	note(`{"number":1}`)
	if errs := <-ended; !strings.Contains(errs, "every customer is decided under document 1") {
		t.Errorf("it prints %s", errs)
	}
}

// --wait waits for the customers that a document has read from Stripe, and says so. Customers that
// cannot be read end it.
func TestPlansApplyWaitsForStripe(t *testing.T) {
	t.Parallel()
	for _, parked := range []bool{false, true} {
		t.Run(fmt.Sprintf("parked %t", parked), func(t *testing.T) {
			t.Parallel()
			p := newPlanned(t)
			state, err := p.js.KeyValue(t.Context(), topology.StateBucket)
			if err != nil {
				t.Fatal(err)
			}
			w, err := p.kv(t).Watch(t.Context(), "test", jetstream.UpdatesOnly())
			if err != nil {
				t.Fatal(err)
			}
			code := 0
			if parked {
				code = 1
			}
			ended := make(chan string)
			go func() { // the test waits for it
				_, errs := p.plans(t, code, "stripe_entitlements: true", "apply", "FILE", "--yes", "--wait")
				ended <- errs
			}()
			<-w.Updates()
			p.decided(t, 1, nil)
			if parked {
				for item, err := range streams.Keys(t.Context(), p.js, entitlement.Bucket(entitlement.Test)) {
					if err != nil {
						t.Fatal(err)
					}
					key := stripeevent.ParkedKey(stripeevent.Customer{Mode: entitlement.Test, ID: item.Key})
					if _, err := state.PutString(t.Context(), key, `{"parked_at":"2026-12-01T09:00:00Z"}`); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := state.PutString(t.Context(), "decided.test", `{"number":1,"lacking":4}`); err != nil {
				t.Fatal(err)
			}
			if parked {
				if errs := <-ended; !strings.Contains(errs, "4 customers of it could not be read from Stripe") {
					t.Errorf("it prints %s", errs)
				}
				return
			}
			select {
			case errs := <-ended:
				t.Fatalf("it returns too early: %s", errs)
			default:
			}
			p.decided(t, 1, []string{})
			if errs := <-ended; !strings.Contains(errs, "every customer is decided under document 1") {
				t.Errorf("it prints %s", errs)
			}
		})
	}
}
