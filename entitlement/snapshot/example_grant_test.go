package snapshot_test

import (
	"encoding/json"
	"fmt"
	"time"

	"entitled/entitlement/snapshot"
)

// pro is a customer with plan pro, which ends, and the document's default.
func pro() *snapshot.Snapshot {
	end := int64(1800000000)
	s := ada("active")
	type limits = map[string]snapshot.Limit
	s.Grants = []snapshot.Grant{
		{Source: snapshot.SourceDefault, Features: []string{"view"}, Limits: limits{"projects": 1}},
		{
			Source: "sub_1", Plans: []string{"pro"}, Features: []string{"api", "export"}, Until: &end,
			Limits: limits{"projects": 50, "seats": snapshot.Unlimited}, Adds: limits{"projects": 10},
		},
	}
	return &s
}

var today, later = time.Unix(1799999999, 0), time.Unix(1800000000, 0)

func ExampleGrant() {
	for _, g := range pro().Grants {
		fmt.Println(g.Source, g.Plans, g.Features)
	}
	// Output:
	// default [] [view]
	// sub_1 [pro] [api export]
}

func ExampleSnapshot_Limit() {
	s := pro()
	fmt.Println(s.Limit("projects", today))
	fmt.Println(s.Limit("projects", later))
	fmt.Println(s.Limit("seats", today))
	fmt.Println(s.Limit("rooms", today))
	// Output:
	// 60 true
	// 1 true
	// unlimited true
	// 0 false
}

func ExampleSnapshot_Decide() {
	s := pro()
	for _, feature := range []string{"export", "view", "sso"} {
		fmt.Println(feature, s.Decide(feature, today).Reason)
	}
	fmt.Println("later:", s.Decide("export", later).Reason)
	// Output:
	// export granted
	// view default
	// sso no_feature
	// later: ended
}

func ExampleAnswer() {
	b, err := json.Marshal(pro().Decide("export", today))
	fmt.Println(string(b), err)
	// Output: {"allowed":true,"reason":"granted","source":"sub_1","plan":"pro","until":1800000000} <nil>
}

func ExampleReason() {
	var unknown snapshot.Snapshot
	fmt.Println(unknown.Decide("export", today).Reason == snapshot.Unknown)
	// Output: true
}

func ExampleLimit() {
	used := snapshot.Limit(7)
	seats, _ := pro().Limit("seats", today)
	fmt.Println(used < seats)
	// Output: true
}

func ExampleLimit_String() {
	fmt.Println(snapshot.Limit(50).String(), snapshot.Unlimited.String())
	// Output: 50 unlimited
}

func ExampleLimit_MarshalJSON() {
	b, err := json.Marshal([]snapshot.Limit{50, snapshot.Unlimited})
	fmt.Println(string(b), err)
	// Output: [50,"unlimited"] <nil>
}

func ExampleLimit_UnmarshalJSON() {
	var limits []snapshot.Limit
	fmt.Println(json.Unmarshal([]byte(`[50, "unlimited"]`), &limits), limits)
	fmt.Println(json.Unmarshal([]byte(`[-1]`), &limits))
	// Output:
	// <nil> [50 unlimited]
	// limit -1: neither a whole number from 0 to 9007199254740991 nor "unlimited"
}

func ExampleProblem() {
	fmt.Println(snapshot.Problem{
		Source: "price_1", Word: "entitled_limit_seats", Value: "ten", Kind: snapshot.ProblemBadNumber,
	})
	// Output: price_1: entitled_limit_seats: "ten" is not a number
}

func ExampleProblem_String() {
	p := snapshot.Problem{Source: "price_1", Word: "plans.pro.limits.seats", Kind: snapshot.ProblemNoQuantity}
	fmt.Println(p.String())
	// Output: price_1: plans.pro.limits.seats counts per unit, and a metered price has no quantity
}

func ExampleProblemKind() {
	fmt.Println(snapshot.ProblemUnknownPlan)
	// Output: unknown_plan
}

// both are two customers with one id.
func both() snapshot.Customers {
	second := ada("active")
	second.Customer = "cus_ada2"
	second.Grants = []snapshot.Grant{{
		Source: snapshot.SourceCustomer, Features: []string{"sso"},
		Adds: map[string]snapshot.Limit{"projects": 5},
	}}
	return snapshot.Customers{Snapshots: []*snapshot.Snapshot{pro(), &second}}
}

func ExampleCustomers() {
	free := &snapshot.Grant{Source: snapshot.SourceDefault, Features: []string{"view"}}
	without := snapshot.Customers{Default: free}
	fmt.Println(without.Has("view", today), without.Allowed(today))
	// Output: true false
}

func ExampleCustomers_Has() {
	fmt.Println(both().Has("export", today), both().Has("sso", today))
	// Output: true true
}

func ExampleCustomers_Allowed() {
	fmt.Println(both().Allowed(later))
	// Output: true
}

func ExampleCustomers_Limit() {
	fmt.Println(both().Limit("projects", today))
	// Output: 65 true
}

func ExampleCustomers_Decide() {
	fmt.Println(both().Decide("sso", today).Source)
	// Output: customer
}

func ExampleCustomers_Keys() {
	fmt.Println(both().Keys())
	// Output: [cus_ada cus_ada2]
}
