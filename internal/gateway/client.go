package gateway

import (
	"errors"

	"entitled/entitlement"
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
	return Document{HasIDs: c.IDs, Features: c.Features, Limits: c.Limits}, nil
}

func (s clientSource) Find(by string) Found {
	c := s.Customers(by)
	f := Found{Default: c.Default, Entries: make([]entitlement.Entry, 0, len(c.Snapshots))}
	for _, snapshot := range c.Snapshots {
		if snapshot.Customer == "" {
			continue
		}
		key := entitlement.Key(snapshot.Account, snapshot.Customer)
		// An unreadable newest entry leaves the snapshot before it in use, which is not an error
		// here.
		e, _ := s.Lookup("key:" + key)
		if e.Snapshot.Customer == "" || e.Snapshot.ID != snapshot.ID {
			e.Snapshot = *snapshot // changed in between; the next question gets the change
		}
		f.Entries = append(f.Entries, entitlement.Entry{Key: key, Revision: e.Revision, Snapshot: e.Snapshot})
	}
	return f
}
