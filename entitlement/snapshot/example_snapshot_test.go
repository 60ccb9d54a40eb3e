package snapshot_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"entitled/entitlement/snapshot"
)

func ExampleSnapshot() {
	s := ada("active", "sso")
	for _, sub := range s.Subscriptions {
		fmt.Println(sub.ID, sub.Status, sub.Items[0].LookupKey)
	}
	// Output: sub_1 active team_monthly
}

func ExampleSnapshot_Has() {
	s := ada("active", "api", "sso")
	end := int64(1800000000)
	s.AccessUntil = &end
	fmt.Println(s.Has("sso", time.Unix(end-1, 0)), s.Has("sso", time.Unix(end, 0)))
	// Output: true false
}

func ExampleSnapshot_Allowed() {
	s := ada("active")
	end := int64(1800000000)
	s.AccessUntil = &end
	fmt.Println(s.Allowed(time.Unix(end-1, 0)), s.Allowed(time.Unix(end, 0)))
	var unknown snapshot.Snapshot
	fmt.Println(unknown.Allowed(time.Now()))
	// Output:
	// true false
	// false
}

func ExampleSnapshot_Equal() {
	a, b := ada("active", "api"), ada("active", "api")
	b.AsOf = b.AsOf.Add(time.Hour)
	fmt.Println(a.Equal(&b))
	b.Features = nil
	fmt.Println(a.Equal(&b))
	// Output:
	// true
	// false
}

func ExampleSnapshot_Encode() {
	s := snapshot.Snapshot{Schema: snapshot.Schema, Customer: "cus_ada", Status: snapshot.StatusNone,
		Features: []string{}, Metadata: map[string]string{}, Subscriptions: []snapshot.Subscription{}}
	fmt.Printf("%s\n", s.Encode())
	// Output: {"schema":1,"customer":"cus_ada","livemode":false,"status":"none","access":false,"features":[],"metadata":{},"subscriptions":[],"as_of":"0001-01-01T00:00:00Z","changed_at":"0001-01-01T00:00:00Z","cause":{"trigger":""}}
}

func ExampleDecode() {
	s, err := snapshot.Decode([]byte(
		`{"schema":1,"customer":"cus_ada","access":true,"features":["sso","api"],"from_the_future":1}`))
	fmt.Println(s.Customer, s.Features, err)
	_, err = snapshot.Decode([]byte(`{"schema":2,"customer":"cus_ada"}`))
	fmt.Println(errors.Is(err, snapshot.ErrSchema))
	// Output:
	// cus_ada [api sso] <nil>
	// true
}

func ExampleDiff() {
	before, after := ada("active", "api"), ada("active", "api", "sso")
	after.Subscriptions[0].Items[0].Price = "price_pro"
	for _, d := range snapshot.Diff(&before, &after) {
		fmt.Println(d.Path)
	}
	// Output:
	// features
	// subscriptions.sub_1.items.si_1.price
}

func ExampleDifference() {
	before, after := ada("active"), ada("canceled")
	i := slices.IndexFunc(snapshot.Diff(&before, &after),
		func(d snapshot.Difference) bool { return d.Path == "status" })
	d := snapshot.Diff(&before, &after)[i]
	fmt.Println(d.Path, d.From, d.To)
	// Output: status "active" "canceled"
}

func ExampleKey() {
	fmt.Println(snapshot.Key("", "cus_ada"))
	fmt.Println(snapshot.Key("acct_1", "cus_ada"))
	// Output:
	// cus_ada
	// acct_1.cus_ada
}

func ExampleParseKey() {
	account, customer, err := snapshot.ParseKey("acct_1.cus_ada")
	fmt.Println(account, customer, err)
	_, _, err = snapshot.ParseKey("cus_*")
	fmt.Println(err)
	// Output:
	// acct_1 cus_ada <nil>
	// key token "cus_*": byte 0x2a is not allowed
}

func ExampleMode() {
	fmt.Println(snapshot.Live, snapshot.Test)
	// Output: live test
}

func ExampleParseMode() {
	mode, err := snapshot.ParseMode("live")
	fmt.Println(mode, err)
	_, err = snapshot.ParseMode("prod")
	fmt.Println(err)
	// Output:
	// live <nil>
	// mode "prod": neither "live" nor "test"
}

func ExampleModeOf() {
	fmt.Println(snapshot.ModeOf(true), snapshot.ModeOf(false))
	// Output: live test
}

func ExampleCause() {
	fmt.Println(ada("active").Cause.Type)
	// Output: customer.subscription.updated
}

func ExampleSubscription() {
	sub := ada("active").Subscriptions[0]
	fmt.Println(time.Unix(sub.CurrentPeriodEnd, 0).UTC().Format(time.DateOnly), sub.CancelAtPeriodEnd)
	// Output: 2027-01-15 false
}

func ExampleItem() {
	it := ada("active").Subscriptions[0].Items[0]
	fmt.Println(it.Price, it.LookupKey, it.Quantity == nil)
	// Output: price_team team_monthly true
}

func ExamplePauseCollection() {
	sub := ada("active").Subscriptions[0]
	sub.PauseCollection = &snapshot.PauseCollection{Behavior: "void"}
	fmt.Println(sub.Status, sub.PauseCollection.Behavior)
	// Output: active void
}

func ExamplePaymentMethod() {
	pm := ada("active").Subscriptions[0].PaymentMethod
	fmt.Println(pm.Brand, pm.Last4)
	// Output: visa 4242
}

func ExampleParseRef() {
	for _, ref := range []string{"cus_ada", "acct_1.cus_ada", "user-42", "id:cus_ada"} {
		name, isID := snapshot.ParseRef(ref)
		fmt.Println(name, isID)
	}
	// Output:
	// cus_ada false
	// acct_1.cus_ada false
	// user-42 true
	// cus_ada true
}

// ada is a customer with one subscription.
func ada(status string, features ...string) snapshot.Snapshot {
	granted := status == "active"
	return snapshot.Snapshot{
		Schema: snapshot.Schema, Customer: "cus_ada", Livemode: true, Status: status, Access: granted,
		Features: features, Metadata: map[string]string{},
		Subscriptions: []snapshot.Subscription{{
			ID: "sub_1", Status: status, Access: granted, CurrentPeriodEnd: 1800000000, Metadata: map[string]string{},
			Items: []snapshot.Item{
				{ID: "si_1", Price: "price_team", Product: "prod_1", LookupKey: "team_monthly"},
			},
			PaymentMethod: &snapshot.PaymentMethod{Type: "card", Brand: "visa", Last4: "4242"},
		}},
		AsOf: time.Unix(1790000000, 0).UTC(), ChangedAt: time.Unix(1790000000, 0).UTC(),
		Cause: snapshot.Cause{Trigger: "webhook", Event: "evt_1", Type: "customer.subscription.updated"},
	}
}

func ExampleDecodeString() {
	s, err := snapshot.DecodeString(`{"schema":1,"customer":"cus_ada","status":"active","access":true}`)
	fmt.Println(s.Customer, s.Allowed(time.Now()), err)
	// Output: cus_ada true <nil>
}

// A program that gets the entry by other means than package entitlement asks the snapshot itself.
func Example() {
	s, err := snapshot.Decode([]byte(
		`{"schema":1,"customer":"cus_ada","status":"active","access":true,"features":["api"]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Has("api", time.Now()), s.Has("sso", time.Now()))
	// Output: true false
}
