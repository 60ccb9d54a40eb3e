package gateway

import (
	"context"
	"iter"
	"time"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

// A Source is the state that the gateway answers from. Its methods are safe for concurrent use, and
// all but Fetch, Sync and Watch read memory.
type Source interface {
	// Find returns the customers that a reference (key:… or id:…) stands for, and the default. The
	// entries are of known customers, and may have only the fields that decisions need.
	Find(ref string) decision.Found
	// Fetch reads the whole entry of a bucket key from NATS.
	Fetch(ctx context.Context, key string) (entitlement.Entry, error)
	// Document returns the parts of the plans document that a gateway needs. Its error says why the
	// document has never been read.
	Document() (Document, error)
	// Watch yields the state of all customers, and then every change.
	Watch(ctx context.Context, keys ...string) iter.Seq[entitlement.Change]
	// Sync has the customer with this bucket key read from Stripe.
	Sync(ctx context.Context, key string) (entitlement.Snapshot, error)
	Status() entitlement.Status
}

// A Document is what a gateway needs of the plans document; zero without one.
type Document struct {
	// HasIDs reports that customers have ids of your own.
	HasIDs bool
	// IDName is the name of the metadata that holds them.
	IDName string
	// Features and Limits are the catalogue.
	Features, Limits []string
}

// staleAfter is the age of the view from which answers say stale_since. The client confirms its
// view every 2 s, and a request for that may take 5 s.
const staleAfter = 10 * time.Second

// staleSince returns nil while the view is current.
func staleSince(st entitlement.Status, now time.Time) *time.Time {
	if now.Sub(st.CurrentAt) <= staleAfter {
		return nil
	}
	at := st.CurrentAt.UTC().Truncate(time.Second)
	return &at
}
