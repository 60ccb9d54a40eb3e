package plans

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"entitled/entitlement/snapshot"
)

// FuzzParse: no text makes the parser panic; a document has a canonical form, which is a document
// with the same form; a text that is none has a mistake in it.
func FuzzParse(f *testing.F) {
	for _, tt := range canonical {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte("plans: {a: &x {}}"))
	f.Add([]byte("a: |\n  b\nc: >-\n  d\n- e"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, _, err := Parse(text)
		if err != nil {
			if invalid, ok := err.(*InvalidError); !ok || len(invalid.Mistakes) == 0 || d != nil {
				t.Fatalf("%v with a document %v", err, d)
			}
			return
		}
		form := d.Encode()
		again, _, err := Parse(form)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if !bytes.Equal(form, again.Encode()) || cmp.Diff(d, again) != "" {
			t.Fatalf("not canonical:\n%s\n%s", form, again.Encode())
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(form))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if err := schemaOfTests(t).Validate(value); err != nil {
			t.Fatalf("the schema refuses %s: %v", form, err)
		}
	})
}

// FuzzDecide holds what must be true of every decision; see checkDecision.
func FuzzDecide(f *testing.F) {
	f.Add([]byte("{}"), []byte(`{"schema":1,"customer":"cus_1"}`), uint64(1))
	f.Add([]byte(`metadata: [price, subscription, customer]
plans: {p0: {match: {product: prod_*}, limits: {l0: {per_unit: 3}}, adds: {l1: 2}, access: {past_due: 1d}}}
default: {features: [f0]}`),
		[]byte(`{"schema":1,"customer":"cus_1","as_of":"2027-01-15T08:00:00Z","entitlements":["f9"],
"metadata":{"entitled_plan":"p0","entitled_until":"2027-01-16"},
"subscriptions":[{"id":"sub_1","status":"past_due","current_period_start":1799990000,
"items":[{"id":"si_1","product":"prod_1","price":"price_1","quantity":2,
"metadata":{"entitled_features":"f3","entitled_limit_l1":"2/unit"}}],"metadata":{"entitled_add_l1":"x"}}]}`), uint64(2))
	f.Fuzz(func(t *testing.T, text, facts []byte, seed uint64) {
		d, _, err := Parse(text)
		if err != nil {
			return
		}
		s, err := snapshot.Decode(facts)
		if err != nil {
			return
		}
		checkDecision(t, d, s, rand.New(rand.NewPCG(seed, 0)))
	})
}

// TestDecisions checks decisions about random facts under random documents, in which names meet.
func TestDecisions(t *testing.T) {
	t.Parallel()
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		d, s := randomDocument(r), randomFacts(r)
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { checkDecision(t, d, s, r) }) {
			t.Fatalf("document %s\nfacts %s", d.Encode(), s.Encode())
		}
	}
}

// checkDecision holds what must be true of the decision about any facts under any document.
func checkDecision(t *testing.T, d *Document, facts snapshot.Snapshot, r *rand.Rand) {
	t.Helper()
	before := facts.Encode()
	s := facts
	if !Decide(&s, d) {
		if !bytes.Equal(before, s.Encode()) {
			t.Fatal("not decided, and changed")
		}
		return
	}
	if !bytes.Equal(before, facts.Encode()) {
		t.Fatal("the snapshot that was given shares what was written")
	}
	want, got := Facts(facts), Facts(s)
	if !bytes.Equal(want.Encode(), got.Encode()) {
		t.Fatal("the facts changed")
	}
	checkForm(t, &s)
	checkSummary(t, &s)
	checkRepeat(t, d, s, r)
	checkOrder(t, d, facts, &s, r)
	checkLeave(t, d, facts, &s)
	checkMore(t, d, facts, &s, r)
}

// checkForm: sorted, in range, and the same after a trip through the bucket.
func checkForm(t *testing.T, s *snapshot.Snapshot) {
	t.Helper()
	for i, g := range s.Grants {
		if i > 0 && s.Grants[i-1].Source > g.Source || !slices.IsSorted(g.Plans) || !slices.IsSorted(g.Features) {
			t.Fatalf("grants are not in order: %+v", s.Grants)
		}
		if g.Plans == nil || g.Features == nil || g.Limits == nil || g.Adds == nil {
			t.Fatalf("a grant lacks a list: %+v", g)
		}
		for name, l := range g.Limits {
			if l < 0 || l > snapshot.MaxLimit && l != snapshot.Unlimited {
				t.Fatalf("%s is %d", name, l)
			}
		}
		for name, l := range g.Adds {
			if l < 0 || l > snapshot.MaxLimit {
				t.Fatalf("add of %s is %d", name, l)
			}
		}
	}
	back, err := snapshot.Decode(s.Encode())
	if err != nil || !bytes.Equal(back.Encode(), s.Encode()) {
		t.Fatalf("decoded: %v\n%s\n%s", err, s.Encode(), back.Encode())
	}
}

// checkSummary: the fields at the top say what the readers say at as_of.
func checkSummary(t *testing.T, s *snapshot.Snapshot) {
	t.Helper()
	now := s.AsOf
	if s.Access != s.Allowed(now) {
		t.Fatalf("access %t, Allowed %t", s.Access, s.Allowed(now))
	}
	if end := s.AccessUntil; end != nil && (!s.Allowed(time.Unix(*end-1, 0)) || s.Allowed(time.Unix(*end, 0))) {
		t.Fatalf("access_until is not the end of access")
	}
	for _, f := range namesIn(s).features {
		if slices.Contains(s.Features, f) != s.Has(f, now) {
			t.Fatalf("features %v, Has(%s) %t", s.Features, f, s.Has(f, now))
		}
	}
	for _, name := range namesIn(s).limits {
		want, known := s.Limit(name, now)
		if got, ok := s.Limits[name]; ok != known || got != want {
			t.Fatalf("limits.%s %d %t, Limit %d %t", name, got, ok, want, known)
		}
	}
}

// checkRepeat: a former decision under any document leaves no trace.
func checkRepeat(t *testing.T, d *Document, s snapshot.Snapshot, r *rand.Rand) {
	t.Helper()
	for _, between := range []*Document{d, nil, {}, randomDocument(r)} {
		again := s
		Decide(&again, between)
		Decide(&again, d)
		if !bytes.Equal(again.Encode(), s.Encode()) {
			t.Fatalf("decided again after %s:\n%s", between.Encode(), cmp.Diff(s, again))
		}
	}
}

// checkOrder: the order of subscriptions, items and entitlements does not matter.
func checkOrder(t *testing.T, d *Document, facts snapshot.Snapshot, s *snapshot.Snapshot, r *rand.Rand) {
	t.Helper()
	mixed := facts
	mixed.Entitlements, mixed.Subscriptions = slices.Clone(facts.Entitlements), slices.Clone(facts.Subscriptions)
	mix(r, mixed.Entitlements)
	mix(r, mixed.Subscriptions)
	for i := range mixed.Subscriptions {
		mixed.Subscriptions[i].Items = slices.Clone(mixed.Subscriptions[i].Items)
		mix(r, mixed.Subscriptions[i].Items)
	}
	Decide(&mixed, d)
	a, b := decisionOf(s), decisionOf(&mixed)
	slices.Sort(a.SubAccess)
	slices.Sort(b.SubAccess)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Fatalf("in another order:\n%s", diff)
	}
}

func mix[T any](r *rand.Rand, s []T) { r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }

// checkLeave: without the document's leave, the metadata of customers and subscriptions changes
// nothing.
func checkLeave(t *testing.T, d *Document, facts snapshot.Snapshot, s *snapshot.Snapshot) {
	t.Helper()
	doc := d.forAccount(facts.Account)
	words := map[string]string{
		"entitled_plan": "p0,p1,p2", "entitled_features": "f0,f9,extra",
		"entitled_limit_l0": "unlimited", "entitled_limit_l1": "x",
		"entitled_add_l0": "1000", "entitled_until": "never", "entitled_nonsense": "x", "entitled_note": "x",
	}
	changed := facts
	if !doc.listens(OnCustomer) {
		changed.Metadata = maps.Clone(words)
		if doc.IDs != nil {
			if id, ok := facts.Metadata[doc.IDs.Metadata]; ok {
				changed.Metadata[doc.IDs.Metadata] = id
			}
		}
	}
	changed.Subscriptions = slices.Clone(facts.Subscriptions)
	for i := range changed.Subscriptions {
		if !doc.listens(OnSubscription) {
			changed.Subscriptions[i].Metadata = words
		}
	}
	Decide(&changed, d)
	if diff := cmp.Diff(decisionOf(s), decisionOf(&changed)); diff != "" {
		t.Fatalf("metadata without leave:\n%s", diff)
	}
}

// checkMore: a subscription, a feature or a grant more never takes anything away.
func checkMore(t *testing.T, d *Document, facts snapshot.Snapshot, s *snapshot.Snapshot, r *rand.Rand) {
	t.Helper()
	more := facts
	switch r.IntN(3) {
	case 0:
		sub := randomSubscription(r, "sub_more")
		more.Subscriptions = append(slices.Clone(facts.Subscriptions), sub)
	case 1:
		if facts.Entitlements == nil {
			return // they were not read; to have read others is no grant more
		}
		more.Entitlements = append(slices.Clone(facts.Entitlements), "f_more")
	case 2:
		more.Metadata = maps.Clone(facts.Metadata)
		for _, word := range []string{wordPlan, wordFeatures} {
			more.Metadata[word] = more.Metadata[word] + ",p1,f1"
		}
	}
	if Decide(&more, d) {
		checkAtLeast(t, s, &more, "with more facts")
	}
	for i := range s.Grants {
		fewer := *s
		fewer.Grants = slices.Delete(slices.Clone(s.Grants), i, i+1)
		checkAtLeast(t, &fewer, s, "with the grant of "+s.Grants[i].Source)
	}
}

// checkAtLeast: at any time, more has everything that less has.
func checkAtLeast(t *testing.T, less, more *snapshot.Snapshot, what string) {
	t.Helper()
	instants := []time.Time{less.AsOf}
	for _, g := range slices.Concat(less.Grants, more.Grants) {
		if g.Until != nil {
			instants = append(instants, time.Unix(*g.Until-1, 0), time.Unix(*g.Until, 0))
		}
	}
	names := namesIn(less)
	for _, now := range instants {
		if less.Allowed(now) && !more.Allowed(now) {
			t.Fatalf("%s, access is gone at %v:\n%s\n%s", what, now, less.Encode(), more.Encode())
		}
		for _, f := range names.features {
			if less.Has(f, now) && !more.Has(f, now) {
				t.Fatalf("%s, %s is gone at %v:\n%s\n%s", what, f, now, less.Encode(), more.Encode())
			}
		}
		for _, name := range names.limits {
			a, known := less.Limit(name, now)
			if b, still := more.Limit(name, now); b < a || known && !still {
				t.Fatalf("%s, %s is %d and not %d at %v:\n%s\n%s", what, name, b, a, now, less.Encode(), more.Encode())
			}
		}
	}
}

type names struct{ features, limits []string }

func namesIn(s *snapshot.Snapshot) names {
	var n names
	n.features = append(n.features, s.Features...)
	for _, g := range s.Grants {
		n.features = append(n.features, g.Features...)
		n.limits = slices.AppendSeq(n.limits, maps.Keys(g.Limits))
		n.limits = slices.AppendSeq(n.limits, maps.Keys(g.Adds))
	}
	return n
}
