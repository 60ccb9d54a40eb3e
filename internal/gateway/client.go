package gateway

import (
	"context"
	"errors"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

// FromClient returns a source that is a client of the whole bucket.
func FromClient(c *entitlement.Client) Source { return clientSource{c} }

type clientSource struct{ *entitlement.Client }

var errNoDocument = errors.New("the plans document has not been read")

func (s clientSource) Document() (Document, error) {
	c, known := s.Catalog()
	if !known {
		return Document{}, errors.Join(errNoDocument, s.Status().PlansErr)
	}
	return Document{HasIDs: c.IDs, IDName: c.IDName, Features: c.Features, Limits: c.Limits}, nil
}

func (s clientSource) Fetch(ctx context.Context, key string) (entitlement.Entry, error) {
	return s.Client.Fetch(ctx, "key:"+key)
}

func (s clientSource) Find(by string) decision.Found {
	c := s.Customers(by)
	f := decision.Found{Default: c.Default, Entries: make([]entitlement.Entry, len(c.Snapshots))}
	for i, snapshot := range c.Snapshots {
		f.Entries[i] = entitlement.Entry{
			Key: entitlement.Key(snapshot.Account, snapshot.Customer), Revision: c.Revisions[i], Snapshot: *snapshot,
		}
	}
	return f
}
