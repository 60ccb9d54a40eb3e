package stripesim

import (
	"slices"

	"entitled/stripesim/internal/ids"
)

// activeEntitlement is one row of GET /v1/entitlements/active_entitlements.
type activeEntitlement struct {
	id      string
	feature *feature
}

// entitles reports whether the features of a subscription with this status are active. Stripe keeps
// those of a paused subscription active and calls that expected.
func entitles(status string) bool {
	switch status {
	case StatusActive, StatusTrialing, StatusPastDue, StatusPaused:
		return true
	}
	return false
}

// grantsOf returns the features of a billing cycle that starts now.
func (t *tx) grantsOf(s *Subscription) []*feature {
	var out []*feature
	for _, it := range s.Items {
		for _, key := range t.products[t.prices[it.Price].get().Product].get().Features {
			if f := t.byLookup[key]; !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// reentitle updates a customer's active entitlements and, if they changed, emits
// entitlements.active_entitlement_summary.updated.
func (t *tx) reentitle(rec *custRecord) {
	old := rec.get()
	var want []*feature
	for _, sub := range rec.subs {
		if s := sub.get(); entitles(s.Status) {
			for _, f := range s.grants {
				if !slices.Contains(want, f) {
					want = append(want, f)
				}
			}
		}
	}
	rows := make([]activeEntitlement, 0, len(want))
	for _, row := range old.entitlements {
		if slices.Contains(want, row.feature) {
			rows = append(rows, row)
		}
	}
	kept := len(rows)
	for _, f := range want {
		if !slices.ContainsFunc(rows[:kept], func(r activeEntitlement) bool { return r.feature == f }) {
			rows = append(rows, activeEntitlement{id: ids.New(t.rng, t.entitlementPrefix(), 36), feature: f})
		}
	}
	if kept == len(old.entitlements) && len(rows) == kept {
		return
	}
	next := *old
	next.entitlements = rows
	rec.set(&next, t.stamp)
	t.emitUpdate("entitlements.active_entitlement_summary.updated",
		t.wireSummary(old), t.wireSummary(&next))
}

func (t *tx) entitlementPrefix() string {
	if t.scope.live {
		return "ent_61"
	}
	return "ent_test_61"
}
