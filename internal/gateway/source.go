package gateway

import (
	"context"
	"iter"

	"entitled/entitlement"
)

// A Source is the state that the gateway answers from. Its methods are safe for concurrent use, and
// all but Fetch, Sync and Watch read memory.
type Source interface {
	// Find returns the customers that a reference (key:… or id:…) stands for, and the default. The
	// entries are of known customers, and may have only what decides.
	Find(ref string) Found
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

// Found are the customers behind a reference, and the default of the plans document.
type Found struct {
	Entries []entitlement.Entry
	Default *entitlement.Grant
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

// customers returns the readers' form.
func (f Found) customers() entitlement.Customers {
	c := entitlement.Customers{Default: f.Default, Snapshots: make([]*entitlement.Snapshot, len(f.Entries))}
	for i := range f.Entries {
		c.Snapshots[i] = &f.Entries[i].Snapshot
	}
	return c
}

// grants yields the grants behind the answers.
func (f Found) grants() iter.Seq[*entitlement.Grant] {
	return func(yield func(*entitlement.Grant) bool) {
		if len(f.Entries) == 0 && f.Default != nil && !yield(f.Default) {
			return
		}
		for i := range f.Entries {
			s := &f.Entries[i].Snapshot
			if s.Grants == nil && s.Access { // written by an earlier version
				if !yield(&entitlement.Grant{Features: s.Features, Until: s.AccessUntil}) {
					return
				}
			}
			for j := range s.Grants {
				if !yield(&s.Grants[j]) {
					return
				}
			}
		}
	}
}
