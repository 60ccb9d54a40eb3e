package repair

import (
	"context"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/plans"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
)

// A reading is what one run of the job knows of the entitlements that customers lack. It ends with
// the document under which it began.
type reading struct {
	// overdue are the accounts whose customers nobody has asked for, although entitlements are read.
	overdue map[string]streams.Value[store.Features]

	// known says, by account, whether entitlements are read; marked has the customers that this run
	// has marked. The mutex of the run guards both.
	known  map[string]plans.Reading
	marked idset.Set
}

func (d *Decider) newReading(ctx context.Context, doc *plans.Document) (reading, error) {
	overdue, err := d.Overdue(ctx, doc)
	return reading{overdue: overdue, known: map[string]plans.Reading{}, marked: idset.New()}, err
}

// lacks reports whether a snapshot lacks entitlements that are read under the document.
func (r *deciding) lacks(ctx context.Context, doc *plans.Document, c stripeevent.Customer,
	s *entitlement.Snapshot) (bool, error) {
	_, overdue := r.overdue[c.Account]
	if s.Deleted || len(s.Entitlements) > 0 || s.Entitlements != nil && !overdue {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	is, ok := r.known[c.Account]
	if !ok {
		var err error
		if is, err = store.Resolve(ctx, r.State, r.Mode, c.Account, doc.Entitlements(c.Account)); err != nil {
			return false, err
		}
		r.known[c.Account] = is
	}
	return is == plans.ReadAlways, nil
}

// mark marks a customer whose snapshot lacks facts, once in a run. A marker that waits already will
// do, but not if the entitlements are overdue: its sync may have begun when nobody asked for them.
func (r *deciding) mark(ctx context.Context, c stripeevent.Customer) error {
	r.mu.Lock()
	before := r.marked.Has(c.Key())
	r.marked.Add(c.Key())
	r.mu.Unlock()
	if before {
		return nil
	}
	if _, overdue := r.overdue[c.Account]; !overdue {
		if waits, err := r.Marked(ctx, c, false); err != nil || waits {
			return err
		}
	}
	r.count(func(n *store.Decided) { n.Lacking++ })
	return r.MarkBulk(ctx, c, entitlement.Cause{Trigger: stripeevent.TriggerPlans})
}
