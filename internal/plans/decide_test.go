package plans

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entitled/entitlement/snapshot"
)

// asOf is when all facts in tests were read, unless they say otherwise.
var asOf = time.Unix(1800000000, 0).UTC()

// A decided is the decision of a snapshot, as the cases write it: what is empty is left out.
type decided struct {
	ID           string                    `json:"id"`
	Access       bool                      `json:"access"`
	AccessUntil  *int64                    `json:"access_until"`
	SubAccess    []string                  `json:"sub_access"`
	Features     []string                  `json:"features"`
	Limits       map[string]snapshot.Limit `json:"limits"`
	Grants       []snapshot.Grant          `json:"grants"`
	Problems     []snapshot.Problem        `json:"problems"`
	NextBoundary *int64                    `json:"next_boundary"`
}

func decisionOf(s *snapshot.Snapshot) decided {
	d := decided{s.ID, s.Access, s.AccessUntil, nil, s.Features, s.Limits, s.Grants, s.Problems, s.NextBoundary}
	for _, sub := range s.Subscriptions {
		if sub.Access {
			d.SubAccess = append(d.SubAccess, sub.ID)
		}
	}
	return d
}

// A decideCase is a case of testdata/decide.
type decideCase struct {
	name, plans, facts, decision string
}

func decideCases(t *testing.T) (all []decideCase) {
	t.Helper()
	files, err := filepath.Glob("testdata/decide/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range strings.Split(string(data), "\n=== ")[1:] {
			name, rest, _ := strings.Cut(text, "\n")
			doc, rest, ok1 := strings.Cut(rest, "--- facts\n")
			facts, decision, ok2 := strings.Cut(rest, "\n--- decision\n")
			if !ok1 || !ok2 {
				t.Fatalf("%s: %s: lacks a part", file, name)
			}
			all = append(all, decideCase{name, doc, facts, strings.TrimSpace(decision)})
		}
	}
	if len(all) < 60 {
		t.Fatalf("%d cases", len(all))
	}
	return all
}

// parse is the document of a text, nil for none.
func parse(t *testing.T, text string) *Document {
	t.Helper()
	if strings.TrimSpace(text) == "" {
		return nil
	}
	d, _, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// factsOf is a snapshot with the facts of a JSON text.
func factsOf(t *testing.T, text string) snapshot.Snapshot {
	t.Helper()
	var s snapshot.Snapshot
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("facts: %v", err)
	}
	s.Schema, s.Customer, s.Livemode = snapshot.Schema, "cus_1", true
	if s.AsOf.IsZero() {
		s.AsOf = asOf
	}
	s, err := snapshot.Decode(s.Encode()) // as the bucket has it: no list is nil
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, c := range decideCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, s := parse(t, c.plans), factsOf(t, c.facts)
			before := s
			ok := Decide(&s, doc)
			if c.decision == "undecided" {
				if ok || !reflect.DeepEqual(s, before) {
					t.Fatalf("decided %t:\n%s", ok, cmp.Diff(before, s))
				}
				return
			}
			var want decided
			d := json.NewDecoder(strings.NewReader(c.decision))
			d.DisallowUnknownFields()
			if err := d.Decode(&want); err != nil {
				t.Fatalf("decision: %v", err)
			}
			if diff := cmp.Diff(want, decisionOf(&s), cmpopts.EquateEmpty()); !ok || diff != "" {
				t.Errorf("decided %t (-want +got):\n%s", ok, diff)
			}
			if s.Grants == nil || s.Limits == nil || s.Features == nil {
				t.Errorf("a decision lacks a list: %s", s.Encode())
			}
			if diff := cmp.Diff(Facts(before), Facts(s)); diff != "" {
				t.Errorf("the facts changed:\n%s", diff)
			}
			if back, err := snapshot.Decode(s.Encode()); err != nil || !slices.Equal(back.Encode(), s.Encode()) {
				t.Errorf("decoded, %v:\n%s\n%s", err, s.Encode(), back.Encode())
			}
		})
	}
}

// The number of the document is in the snapshot, also of a customer that it does not decide for.
func TestDecideSetsTheNumber(t *testing.T) {
	t.Parallel()
	for _, account := range []string{"", "acct_1"} {
		s := factsOf(t, `{"account": "`+account+`"}`)
		if Decide(&s, &Document{Number: 7}); s.PlansRevision != 7 {
			t.Errorf("account %q: plans_revision %d", account, s.PlansRevision)
		}
		if Decide(&s, nil); s.PlansRevision != 0 {
			t.Errorf("account %q: plans_revision %d without a document", account, s.PlansRevision)
		}
	}
}

// A snapshot has the first hundred problems, however many there are.
func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	s := factsOf(t, `{"subscriptions": [{"id": "sub_1", "status": "active"}]}`)
	for i := range 150 {
		s.Subscriptions[0].Items = append(s.Subscriptions[0].Items, snapshot.Item{
			Price: fmt.Sprintf("price_%03d", i), Metadata: map[string]string{wordFeatures: "b@d"},
		})
	}
	Decide(&s, nil)
	if n := len(s.Problems); n != 100 || s.Problems[99].Source != "price_099" {
		t.Errorf("%d problems, the last one of %s", n, s.Problems[n-1].Source)
	}
}

// decisionFields are the fields that Decide sets. A new field must be among them, or be a fact.
var decisionFields = []string{
	"Snapshot.ID", "Snapshot.Access", "Snapshot.AccessUntil", "Snapshot.Features", "Snapshot.Limits", "Snapshot.Grants",
	"Snapshot.NextBoundary", "Snapshot.Problems", "Snapshot.PlansRevision", "Subscription.Access",
}

var factFields = []string{
	"Snapshot.Schema", "Snapshot.Customer", "Snapshot.Account", "Snapshot.Livemode",
	"Snapshot.Deleted", "Snapshot.Status",
	"Snapshot.Entitlements", "Snapshot.Metadata", "Snapshot.Subscriptions", "Snapshot.Omitted",
	"Snapshot.FactsRevision",
	"Snapshot.AsOf", "Snapshot.ChangedAt", "Snapshot.Cause",
	"Subscription.ID", "Subscription.Status", "Subscription.Items",
	"Subscription.CurrentPeriodStart", "Subscription.CurrentPeriodEnd",
	"Subscription.CancelAtPeriodEnd", "Subscription.CancelAt", "Subscription.CanceledAt",
	"Subscription.EndedAt", "Subscription.TrialEnd",
	"Subscription.PauseCollection", "Subscription.PaymentMethod", "Subscription.Metadata",
}

// Each field is a fact or part of the decision, and Facts clears exactly the latter.
func TestFacts(t *testing.T) {
	t.Parallel()
	n := int64(1)
	full := snapshot.Snapshot{
		ID: "x", Access: true, AccessUntil: &n, Features: []string{"x"}, Limits: map[string]snapshot.Limit{"x": 1},
		Grants: []snapshot.Grant{{Source: "x"}}, NextBoundary: &n, Problems: []snapshot.Problem{{}},
		PlansRevision: 1,
		Subscriptions: []snapshot.Subscription{{ID: "sub_1", Access: true}},
	}
	facts := Facts(full)
	check := func(prefix string, full, facts reflect.Value) {
		for i := range full.NumField() {
			name := prefix + "." + full.Type().Field(i).Name
			decision, fact := slices.Contains(decisionFields, name), slices.Contains(factFields, name)
			if decision == fact {
				t.Errorf("%s: decision %t, fact %t", name, decision, fact)
			}
			if decision && (empty(full.Field(i)) || !empty(facts.Field(i))) {
				t.Errorf("%s is not cleared", name)
			}
		}
	}
	check("Snapshot", reflect.ValueOf(full), reflect.ValueOf(facts))
	check("Subscription", reflect.ValueOf(full.Subscriptions[0]), reflect.ValueOf(facts.Subscriptions[0]))
	if !full.Subscriptions[0].Access {
		t.Error("Facts wrote to the list that it was given")
	}
}

// empty reports whether the value is zero, or a list without an element.
func empty(v reflect.Value) bool { return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 }

func TestNextLook(t *testing.T) {
	t.Parallel()
	s := factsOf(t, `{"subscriptions": [{"id": "sub_1", "status": "past_due",
		"current_period_start": 1799740800, "current_period_end": 1801000000}]}`)
	Decide(&s, nil)
	for _, tt := range []struct{ now, want int64 }{
		{1799999000, 1800000120}, {1800000119, 1800000120}, {1800000120, 1800000600},
		{1800000600, 1800003600}, {1800003600, 1800021600},
		{1800021600, 1801000120}, {1801021599, 1801021600},
	} {
		if at, ok := NextLook(&s, time.Unix(tt.now, 0)); !ok || at.Unix() != tt.want {
			t.Errorf("at %d: %d %t, want %d", tt.now, at.Unix(), ok, tt.want)
		}
	}
	if at, ok := NextLook(&s, time.Unix(1801021600, 0)); ok {
		t.Errorf("a look at %v after the last", at)
	}
	s.Omitted, s.Subscriptions, s.Grants = []string{snapshot.OmittedSubscriptions}, nil, nil
	if at, ok := NextLook(&s, time.Unix(1799999000, 0)); !ok || at.Unix() != *s.NextBoundary+120 {
		t.Errorf("subscriptions omitted: %v %t", at, ok)
	}
}

// BenchmarkDecide decides random facts, with up to three subscriptions and many words that cannot
// be read, under a document of 50 plans.
func BenchmarkDecide(b *testing.B) {
	d := &Document{Plans: map[string]Plan{}}
	for i := range 50 {
		d.Plans[fmt.Sprint("plan_", i)] = Plan{
			Match:    []Match{{Product: []string{fmt.Sprint("prod_", i)}}},
			Features: []string{"api", "export", "sso"}, Limits: map[string]Amount{"seats": {PerUnit: 1}},
		}
	}
	var all []snapshot.Snapshot
	for seed := range uint64(100) {
		all = append(all, randomFacts(rand.New(rand.NewPCG(seed, 2))))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s := all[i%len(all)]
		Decide(&s, d)
	}
}
