package store

import (
	"context"
	"fmt"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// Marked reports whether the customer has a marker that leads to a fetch of its own. A marker that
// a relief settles, or has settled and not removed yet, may not, because the relief may have read
// the customer earlier. relieving says that the caller is that relief.
func (s *Store) Marked(ctx context.Context, c stripeevent.Customer, relieving bool) (bool, error) {
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		seq, err := s.NewestMarker(ctx, stripeevent.SyncSubject(lane, c))
		if err != nil {
			return false, fmt.Errorf("look for a marker of %s: %w", c, err)
		}
		if seq == 0 {
			continue
		}
		other, err := ReliefEntry(s.State, c.Mode).Get(ctx)
		if err != nil {
			return false, err
		}
		if settled := !relieving && seq <= other.V.Seq && c.Account == ""; !settled {
			return true, nil
		}
	}
	return false, nil
}

// MarkBulk marks a customer for a sync in the bulk lane.
func (s *Store) MarkBulk(ctx context.Context, c stripeevent.Customer, cause entitlement.Cause) error {
	subject := stripeevent.SyncSubject(stripeevent.Bulk, c)
	if _, err := s.JS.Publish(ctx, subject, stripeevent.EncodeMarker(cause)); err != nil {
		return fmt.Errorf("mark %s: %w", c, err)
	}
	return nil
}
