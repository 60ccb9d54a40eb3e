// Package entitlementtest makes clients for unit tests that need no NATS. They are clients as the
// program has them, so a handler is tested as it is:
//
//	client := entitlementtest.New(t, entitlementtest.Customer("cus_1", "api"))
//	handler := NewHandler(client) // takes an *entitlement.Client
//
// Such a client answers as one that follows a bucket with these customers: readers apply the ends of
// grants, [entitlement.Client.Watch] yields what [Put] and [Remove] change, and
// [entitlement.Client.Sync] returns the customer that was put, or the error of one that Stripe does
// not have.
package entitlementtest

import (
	"encoding/json"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/entitlement/internal/byhand"
)

// New returns a client that knows the customers. It is closed when the test ends.
func New(t testing.TB, customers ...entitlement.Snapshot) *entitlement.Client {
	t.Helper()
	client := byhand.New().(*entitlement.Client)
	t.Cleanup(func() { _ = client.Close() }) // always nil
	Put(t, client, customers...)
	return client
}

// Customer returns a customer with one active subscription that grants the features, and does not
// end. The key is a bucket key, as cus_1. Change the snapshot for what else the test needs:
//
//	c := entitlementtest.Customer("cus_1", "api")
//	c.ID = "42"
//	c.Grants[0].Limits = map[string]entitlement.Limit{"seats": 5}
func Customer(key string, features ...string) entitlement.Snapshot {
	account, customer, err := entitlement.ParseKey(key)
	if err != nil {
		customer = "" // Put says that there is none
	}
	return entitlement.Snapshot{
		Customer: customer, Account: account, Status: "active", Access: true, Features: features,
		Grants: []entitlement.Grant{{Source: "sub_1", Features: features}},
		Subscriptions: []entitlement.Subscription{{
			ID: "sub_1", Status: "active", Access: true,
			Items: []entitlement.Item{{ID: "si_1", Price: "price_1", Product: "prod_1"}},
		}},
	}
}

// Put adds customers to a client of [New], or replaces them. Watches have the change when Put
// returns, and yield it. Put sets the fields that every entry of the bucket has, and ends the test
// if a snapshot names no customer.
func Put(t testing.TB, client *entitlement.Client, customers ...entitlement.Snapshot) {
	t.Helper()
	for _, s := range customers {
		s.Schema, s.Livemode = entitlement.Schema, false
		if s.AsOf.IsZero() {
			s.AsOf = time.Now().UTC()
		}
		if s.ChangedAt.IsZero() {
			s.ChangedAt = s.AsOf
		}
		if err := byhand.Put(client, entitlement.Key(s.Account, s.Customer), s.Encode()); err != nil {
			t.Fatalf("put %q: %v", s.Customer, err)
		}
	}
}

// Remove makes customers unknown to a client of [New], as if their entries were deleted.
func Remove(t testing.TB, client *entitlement.Client, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := byhand.Put(client, key, nil); err != nil {
			t.Fatalf("remove %s: %v", key, err)
		}
	}
}

// Default sets what every customer has who is unknown to a client of [New], as the default of a
// plans document.
func Default(t testing.TB, client *entitlement.Client, features []string, limits map[string]entitlement.Limit) {
	t.Helper()
	document, err := json.Marshal(map[string]any{
		"number": 1, "default": map[string]any{"features": features, "limits": limits},
	})
	if err == nil {
		err = byhand.Plans(client, document)
	}
	if err != nil {
		t.Fatalf("set the default: %v", err)
	}
}
