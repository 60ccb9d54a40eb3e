package entitlement_test

import (
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

func ExampleBucket() {
	fmt.Println(entitlement.Bucket(entitlement.Live))
	// Output: entitlements_live
}

func ExampleSyncSubject() {
	fmt.Println(entitlement.SyncSubject(entitlement.Test))
	// Output: entitled.sync.test
}
