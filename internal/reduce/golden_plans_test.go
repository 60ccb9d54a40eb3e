package reduce

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/stripeapi"
	"entitled/stripesim"
)

// plansOfGolden uses everything that a document can say about the customer below.
const plansOfGolden = `
stripe_entitlements: true
metadata: [price, subscription, customer]
ids: {metadata: user_id}
plans:
  pro:
    match: {product: prod_pro}
    features: [export]
    limits: {projects: 50, seats: {per_unit: 1}}
  extra:
    match: {lookup_key: extra_*}
    adds: {projects: {per_unit: 10}}
default: {features: [view], limits: {projects: 1}}
`

// The two halves of a snapshot, each in a file of its own: facts.json is what a reading of Stripe
// makes, decision.json every field that the decision adds or changes.
func TestHalvesGolden(t *testing.T) {
	t.Parallel()
	sim := stripesim.New(stripesim.Config{Seed: 1, Start: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)})
	t.Cleanup(sim.Close)
	g := &golden{Account: sim.Account, t: t, sim: sim}
	for _, p := range []stripesim.ProductParams{
		{ID: "prod_pro", Name: "Pro", Features: []string{"sso"}}, {ID: "prod_extra", Name: "Extra projects"},
	} {
		_, err := g.CreateProduct(p)
		g.must(err)
	}
	for _, p := range []stripesim.PriceParams{
		{ID: "price_pro", Product: "prod_pro", LookupKey: "pro_monthly", UnitAmount: 2900,
			Metadata: map[string]string{"entitled_limit_exports": "5/unit", "entitled_features": "api", "colour": "red"}},
		{ID: "price_extra", Product: "prod_extra", LookupKey: "extra_monthly", UnitAmount: 500},
	} {
		_, err := g.CreatePrice(p)
		g.must(err)
	}
	c := g.buyer("cus_plans")
	g.must(g.UpdateCustomer(c, map[string]string{
		"user_id": "u_7", "entitled_plan": "pro", "entitled_until": "2026-12-24", "entitled_note": "a gift",
		"entitled_features": "beta, not a name",
	}))
	g.must(g.CancelAtPeriodEnd(g.subscribe(stripesim.SubscriptionParams{Customer: c, Items: []stripesim.ItemParams{
		{Price: "price_pro", Quantity: 3}, {Price: "price_extra", Quantity: 2},
	}, Metadata: map[string]string{"entitled_limit_seats": "20"}})))

	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	client, err := stripeapi.New(stripeapi.Config{Key: "sk_test_golden", Base: web.URL})
	g.must(err)
	t.Cleanup(client.Close)
	state, _, err := client.Entitlements(true).Fetch(t.Context(), "", c, func(context.Context) error { return nil })
	g.must(err)
	facts := Reduce(state, sim.Now())
	doc, _, err := plans.Parse([]byte(plansOfGolden))
	g.must(err)
	doc.Number = 3
	decided := facts
	if !plans.Decide(&decided, doc) {
		t.Fatal("not decided")
	}
	if left := plans.Facts(decided); !bytes.Equal(left.Encode(), facts.Encode()) {
		t.Errorf("the decision changed facts: %s", cmp.Diff(string(facts.Encode()), string(left.Encode())))
	}
	compareGolden(t, "facts.json", facts.Encode())
	compareGolden(t, "decision.json", added(t, facts, decided))
}

// added is the fields of next that differ from those of s. Of subscriptions it is those of each one.
func added(t *testing.T, s, next snapshot.Snapshot) []byte {
	t.Helper()
	differing := func(a, b []byte) map[string]json.RawMessage {
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(a, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &after); err != nil {
			t.Fatal(err)
		}
		for name, value := range after {
			if bytes.Equal(before[name], value) {
				delete(after, name)
			}
		}
		return after
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	fields := differing(s.Encode(), next.Encode())
	if _, ok := fields["subscriptions"]; ok {
		var subs []map[string]json.RawMessage
		for i := range next.Subscriptions {
			subs = append(subs, differing(encode(s.Subscriptions[i]), encode(next.Subscriptions[i])))
		}
		fields["subscriptions"] = encode(subs)
	}
	return encode(fields)
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", "halves", name)
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test -run %s -update", err, t.Name())
	}
	if d := cmp.Diff(string(want), pretty.String()); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, d)
	}
}
