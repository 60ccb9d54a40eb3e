package plans

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement/snapshot"
)

// total sums up parts as a reader sums up grants.
func total(parts []Part) (sum snapshot.Limit) {
	for i, p := range parts {
		switch {
		case sum == snapshot.Unlimited:
		case p.Limit == snapshot.Unlimited && i == 0:
			sum = snapshot.Unlimited
		default:
			sum = min(sum+p.Limit, snapshot.MaxLimit)
		}
	}
	return sum
}

// The parts sum to the limit, whatever the facts and the document, for one customer or several, and
// also when the document that decided is gone or another one has its number.
func TestPartsSumToTheLimit(t *testing.T) {
	t.Parallel()
	split := 0
	seeds, enough := uint64(3000), 1000
	if testing.Short() {
		seeds, enough = 300, 100
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 7))
		d, other := randomDocument(r), randomDocument(r)
		var c snapshot.Customers
		for i := range 1 + r.IntN(2) {
			s := randomFacts(r)
			s.Customer = fmt.Sprint("cus_", i)
			if Decide(&s, d) {
				c.Snapshots = append(c.Snapshots, &s)
			}
		}
		if d.Default != nil {
			c.Default = &snapshot.Grant{Source: snapshot.SourceDefault, Limits: d.Default.Limits}
		}
		now := asOf.Add(pick(r, 0, -time.Hour, 2*time.Hour, 40*24*time.Hour))
		for _, document := range []func(uint64) (*Document, bool){
			func(uint64) (*Document, bool) { return d, true },
			func(uint64) (*Document, bool) { return other, true },
			func(uint64) (*Document, bool) { return nil, false },
		} {
			for _, name := range []string{"l0", "l1", "l2", "l9", "none"} {
				want, known := c.Limit(name, now)
				parts := Parts(c, document, name, now)
				if got := total(parts); got != want || known != (len(parts) > 0) {
					t.Fatalf("seed %d: the parts of %s are %+v and sum to %s, want %s, known %v", seed, name, parts, got,
						want, known)
				}
				for _, p := range parts {
					switch {
					case p.Grant != nil || p.Source == snapshot.SourceDefault:
					case p.Limit != p.Amount.of(p.Quantity) || (p.Plan == "") == (p.Object == ""):
						t.Fatalf("seed %d: %s has the part %+v", seed, name, p)
					default:
						split++
					}
				}
			}
		}
	}
	if split < enough {
		t.Errorf("only %d parts name a plan or an object", split)
	}
}

// The examples of a plan, an add per unit, and a contract.
func TestParts(t *testing.T) {
	t.Parallel()
	d, _, err := Parse([]byte(`metadata: [price, subscription, customer]
plans:
  pro: {match: {product: prod_pro}, limits: {seats: 10, projects: {base: 2, per_unit: 1}}}
  extra_seats: {match: {product: prod_extra}, adds: {seats: {per_unit: 1}}}
default: {limits: {seats: 1}}`))
	if err != nil {
		t.Fatal(err)
	}
	two, three := int64(2), int64(3)
	s := snapshot.Snapshot{
		Schema: 1, Customer: "cus_1", Status: "active", AsOf: asOf, Subscriptions: []snapshot.Subscription{{
			ID: "sub_1", Status: "active", Metadata: map[string]string{"entitled_add_seats": "5"},
			Items: []snapshot.Item{
				{ID: "si_1", Product: "prod_pro", Price: "price_1", Quantity: &three},
				{ID: "si_2", Product: "prod_extra", Price: "price_2", Quantity: &two},
			},
		}},
	}
	if !Decide(&s, d) {
		t.Fatal("not decided")
	}
	parts := Parts(snapshot.Customers{Snapshots: []*snapshot.Snapshot{&s}},
		func(uint64) (*Document, bool) { return d, true }, "seats", asOf)
	want := []Part{
		{Source: "sub_1", Plan: "pro", Limit: 10, Amount: Amount{Base: 10}, Quantity: 3},
		{Source: "sub_1", Plan: "extra_seats", Limit: 2, Amount: Amount{PerUnit: 1}, Quantity: 2},
		{Source: "sub_1", Object: "sub_1", Limit: 5, Amount: Amount{Base: 5}, Quantity: 1},
	}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
