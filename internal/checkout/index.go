package checkout

import (
	"context"

	"entitled/entitlement"
)

// A Bucket is an [Index] of snapshots.
type Bucket struct {
	// Name is the name of the metadata that holds ids.
	Name string
	// Find returns the entries of an id.
	Find func(id string) []entitlement.Entry
	// Read has the customer that a reference (key:…) names read from Stripe.
	Read func(ctx context.Context, ref string) (entitlement.Snapshot, error)
}

// IDName implements [Index].
func (b Bucket) IDName() string { return b.Name }

// Customers implements [Index].
func (b Bucket) Customers(id string) (customers []string) {
	for _, e := range b.Find(id) {
		if !e.Snapshot.Deleted && e.Snapshot.Account == "" {
			customers = append(customers, e.Snapshot.Customer)
		}
	}
	return customers
}

// Sync implements [Index].
func (b Bucket) Sync(ctx context.Context, customer string) (entitlement.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	return b.Read(ctx, "key:"+customer)
}
