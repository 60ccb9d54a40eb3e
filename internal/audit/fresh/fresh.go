// Package fresh reads one customer from Stripe beside the bucket, for `entitled explain --check`. It takes
// its requests from the fleet's budget and writes nothing.
package fresh

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/plans"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/tell"
	"entitled/internal/topology"
)

// within bounds the reading of Stripe.
const within = 30 * time.Second

// Compare reads the customer of a story from Stripe and puts the reading beside the bucket. rate is the
// fleet's rate of requests to Stripe.
func Compare(ctx context.Context, js jetstream.JetStream, story *audit.Story, stripe stripeapi.Config,
	rate float64) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	mode := story.Customer.Mode
	kv, err := js.KeyValue(ctx, topology.StateBucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", topology.StateBucket, err)
	}
	doc, err := inForce(ctx, js, mode)
	if err != nil {
		return err
	}
	account := story.Customer.Account
	reading, err := store.Resolve(ctx, kv, mode, account, doc.Entitlements(account))
	if err != nil {
		return err
	}
	client, err := stripeapi.New(stripe)
	if err != nil {
		return err
	}
	defer client.Close()
	fleet := budget.New(budget.Config{KV: kv, Mode: mode, Rate: rate})
	place := func(ctx context.Context) error { return fleet.Take(ctx, stripeapi.Requests) }
	if err := place(ctx); err != nil {
		return fmt.Errorf("--check: wait for the Stripe budget: %w", err)
	}
	asOf := time.Now()
	read, trace, err := client.Entitlements(reading == plans.ReadAlways).Fetch(ctx, account, story.Customer.ID, place)
	if err != nil {
		return tell.WithHint(fmt.Errorf("--check: %w", err), "without --check, the story needs no answer of Stripe")
	}
	if known := story.Now.Snapshot; reading == plans.ReadNone && known != nil && known.Entitlements != nil &&
		!read.Deleted {
		read.Features = []string{}
	}
	story.Now.Compare(read, trace, doc, asOf)
	return nil
}

// inForce returns the plans document in force, nil if there is none.
func inForce(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode) (*plans.Document, error) {
	kv, err := js.KeyValue(ctx, topology.PlansBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.PlansBucket, err)
	}
	return store.DocumentInForce(ctx, kv, mode)
}
