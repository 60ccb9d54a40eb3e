package entitlement_test

import (
	"encoding/json"
	"fmt"
	"time"

	"entitled/entitlement"
)

// pro is a customer with plan pro, which ends, and the document's default.
func pro() *entitlement.Snapshot {
	end := int64(1800000000)
	s := ada("active")
	type limits = map[string]entitlement.Limit
	s.Grants = []entitlement.Grant{
		{Source: entitlement.SourceDefault, Features: []string{"view"}, Limits: limits{"projects": 1}},
		{
			Source: "sub_1", Plans: []string{"pro"}, Features: []string{"api", "export"}, Until: &end,
			Limits: limits{"projects": 50, "seats": entitlement.Unlimited}, Adds: limits{"projects": 10},
		},
	}
	return &s
}

// lasting is the snapshot with grants that do not end.
func lasting(s *entitlement.Snapshot) entitlement.Snapshot {
	for i := range s.Grants {
		s.Grants[i].Until = nil
	}
	return *s
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
	var unknown entitlement.Snapshot
	fmt.Println(unknown.Decide("export", today).Reason == entitlement.Unknown)
	// Output: true
}

func ExampleLimit() {
	used := entitlement.Limit(7)
	seats, _ := pro().Limit("seats", today)
	fmt.Println(used < seats)
	// Output: true
}

func ExampleLimit_String() {
	fmt.Println(entitlement.Limit(50).String(), entitlement.Unlimited.String())
	// Output: 50 unlimited
}

func ExampleLimit_MarshalJSON() {
	b, err := json.Marshal([]entitlement.Limit{50, entitlement.Unlimited})
	fmt.Println(string(b), err)
	// Output: [50,"unlimited"] <nil>
}

func ExampleLimit_UnmarshalJSON() {
	var limits []entitlement.Limit
	fmt.Println(json.Unmarshal([]byte(`[50, "unlimited"]`), &limits), limits)
	fmt.Println(json.Unmarshal([]byte(`[-1]`), &limits))
	// Output:
	// <nil> [50 unlimited]
	// limit -1: neither a whole number from 0 to 9007199254740991 nor "unlimited"
}

func ExampleProblem() {
	fmt.Println(entitlement.Problem{
		Source: "price_1", Word: "entitled_limit_seats", Value: "ten", Kind: entitlement.ProblemBadNumber,
	})
	// Output: price_1: entitled_limit_seats: "ten" is not a number
}

func ExampleProblem_String() {
	p := entitlement.Problem{Source: "price_1", Word: "plans.pro.limits.seats", Kind: entitlement.ProblemNoQuantity}
	fmt.Println(p.String())
	// Output: price_1: plans.pro.limits.seats counts per unit, and a metered price has no quantity
}

func ExampleProblemKind() {
	fmt.Println(entitlement.ProblemUnknownPlan)
	// Output: unknown_plan
}

// both are two customers with one id.
func both() entitlement.Customers {
	second := ada("active")
	second.Customer = "cus_ada2"
	second.Grants = []entitlement.Grant{{
		Source: entitlement.SourceCustomer, Features: []string{"sso"},
		Adds: map[string]entitlement.Limit{"projects": 5},
	}}
	return entitlement.Customers{Snapshots: []*entitlement.Snapshot{pro(), &second}}
}

func ExampleCustomers() {
	free := &entitlement.Grant{Source: entitlement.SourceDefault, Features: []string{"view"}}
	without := entitlement.Customers{Default: free}
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

// A program names its users by its own ids. One that has no customer gets the default of the plans
// document.
func ExampleClient_Customers() {
	d := startDemo()
	defer d.stop()
	d.plans(`{"number": 1, "default": {"features": ["view"], "limits": {"projects": 1}}}`)
	for _, s := range both().Snapshots {
		s.ID = "42"
		d.put(lasting(s))
	}
	c := d.open()
	defer c.Close()
	for _, id := range []string{"id:42", "id:43"} {
		all, now := c.Customers(id), time.Now()
		projects, _ := all.Limit("projects", now)
		fmt.Println(id, all.Keys(), all.Has("view", now), all.Has("sso", now), projects)
	}
	// Output:
	// id:42 [cus_ada cus_ada2] true true 65
	// id:43 [] true false 1
}

func ExampleClient_Limit() {
	d := startDemo()
	defer d.stop()
	d.put(lasting(pro()))
	c := d.open()
	defer c.Close()
	seats, known := c.Limit("cus_ada", "seats")
	fmt.Println(seats, known)
	// Output: unlimited true
}

func ExampleClient_Decide() {
	d := startDemo()
	defer d.stop()
	d.put(lasting(pro()))
	c := d.open()
	defer c.Close()
	for _, key := range []string{"cus_ada", "cus_bob", "cus_zoe"} {
		fmt.Println(key, c.Decide(key, "export").Reason)
	}
	// Output:
	// cus_ada granted
	// cus_bob no_grant
	// cus_zoe unknown
}
