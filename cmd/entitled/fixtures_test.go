package main

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/topology"
)

// withoutEntitlements puts a document in force under which a listing says everything: without it,
// the features of the simulator's catalog have each customer read.
func withoutEntitlements(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), topology.PlansBucket)
	if err == nil {
		_, err = kv.PutString(t.Context(), "test", `{"number":1,"stripe_entitlements":false}`)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// subscribed is a subscription of March 2026.
func subscribed(id, status, plan string) entitlement.Subscription {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one := int64(1)
	return entitlement.Subscription{
		ID: id, Status: status, Access: status == "active",
		Items: []entitlement.Item{{ID: "si_1", Price: "price_1", Product: "prod_1", LookupKey: plan,
			Quantity: &one}},
		CurrentPeriodStart: noon.AddDate(0, 0, -3).Unix(), CurrentPeriodEnd: noon.AddDate(0, 0, 27).Unix(),
		Metadata: map[string]string{},
	}
}

// snapshotOf is a snapshot that a webhook led to.
func snapshotOf(customer, status string, features []string, subs ...entitlement.Subscription) entitlement.Snapshot {
	asOf := time.Date(2026, 3, 1, 11, 59, 58, 0, time.UTC)
	s := entitlement.Snapshot{
		Schema: 1, Customer: customer, Status: status, Features: features, Metadata: map[string]string{},
		Subscriptions: subs,
		AsOf:          asOf, ChangedAt: asOf,
		Cause: entitlement.Cause{Trigger: "webhook", Event: "evt_1Nv", Type: "customer.subscription.updated"},
	}
	for _, sub := range subs {
		s.Access = s.Access || sub.Access
	}
	return s
}
