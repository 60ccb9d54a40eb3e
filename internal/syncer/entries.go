package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// current is what the bucket has of a customer.
type current struct {
	// snapshot is nil where there is none, or something that is none.
	snapshot *entitlement.Snapshot
	// revision is what a write over it must expect, there says that the key has a value.
	revision uint64
	there    bool
	// newer says that a newer version of this program wrote it.
	newer bool
}

func currentOf(data []byte, revision uint64) current {
	e := current{revision: revision, there: data != nil}
	switch snap, err := entitlement.Decode(data); {
	case err == nil:
		e.snapshot = &snap
	case errors.Is(err, entitlement.ErrSchema):
		e.newer = true
	}
	return e
}

func (s *sweep) current(ctx context.Context, c stripeevent.Customer) (current, error) {
	data, revision, err := s.Snapshot(ctx, c.Key())
	if err != nil {
		return current{}, fmt.Errorf("read the revision of %s: %w", c, err)
	}
	return currentOf(data, revision), nil
}

// entries are what the bucket has of a batch.
func (s *sweep) entries(ctx context.Context, batch []*group) ([]current, error) {
	all := make([]current, len(batch))
	if s.fence.Revision == 0 {
		// Nothing was in the bucket: whoever is there now came later, and the write fails.
		return all, nil
	}
	subjects := make([]string, len(batch))
	for i, gr := range batch {
		subjects[i] = s.store.bucket.prefix + gr.customer.Key()
	}
	found, upTo, err := s.store.lasts(ctx, "KV_"+s.store.bucket.Bucket(), subjects)
	if err != nil {
		return nil, err
	}
	for i, gr := range batch {
		if upTo < s.fence.Revision {
			// From a replica that lags: it may hide that the customer differs.
			if all[i], err = s.current(ctx, gr.customer); err != nil {
				return nil, err
			}
			continue
		}
		e := found[subjects[i]]
		if takenAway(e.header) {
			e.data = nil
		}
		all[i] = currentOf(e.data, e.seq)
	}
	return all, nil
}

// markersOf are the sequences of the markers of a batch's customers that a write by this sweep settles. A replica that lags may hide one:
// then the customer is synced once more.
func (s *sweep) markersOf(ctx context.Context, batch []*group) (map[string][]uint64, error) {
	if s.markers == 0 {
		return nil, nil
	}
	of := make(map[string]string, 2*len(batch))
	for _, gr := range batch {
		for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
			of[stripeevent.SyncSubject(lane, gr.customer)] = gr.customer.ID
		}
	}
	found, _, err := s.store.lasts(ctx, topology.SyncStream, slices.Collect(maps.Keys(of)))
	if err != nil {
		return nil, err
	}
	settles := make(map[string][]uint64)
	for subject, m := range found {
		if m.seq <= s.markers {
			settles[of[subject]] = append(settles[of[subject]], m.seq)
		}
	}
	return settles, nil
}
