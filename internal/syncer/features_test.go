package syncer

import (
	"slices"
	"testing"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// withFeatures is the policy of a fleet that reads active entitlements.
func withFeatures(c *Config) { c.Stripe.Features = true }

// Customers that were synced while features were not read have none in the bucket, as a customer without features has:
// only their snapshots can tell that nobody asked.
func TestFeaturesSwitchedOnLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if err := r.sim.SetProductFeatures(r.product, "api"); err != nil {
		t.Fatal(err)
	}
	stop := r.start()
	var all []stripeevent.Customer
	for range 5 {
		c := r.customer()
		r.subscribe(c)
		r.mark(c)
		r.await(c, "active", status("active"))
		all = append(all, c)
	}
	// Listed, and there is nothing to read of it: a deleted customer has no features.
	gone := r.customer()
	r.subscribe(gone)
	if err := r.sim.DeleteCustomer(gone.ID); err != nil {
		t.Fatal(err)
	}
	r.mark(gone)
	r.await(gone, "deleted", func(s entitlement.Snapshot) bool { return s.Deleted })
	r.awaitIdle()
	stop()

	r.cfg = withFeatures
	o := r.operator(withFeatures, adopting)
	if err := o.s.takePolicy(t.Context(), "this one"); err != nil {
		t.Fatal(err)
	}
	rep, err := o.Sweep(t.Context(), SweepOptions{})
	if err != nil || rep.Unread != len(all) || rep.Marked != len(all) || rep.Drift != 0 || rep.Unchanged != 1 {
		t.Errorf("sweep: report %+v, %v; want %d marked as unread, and no drift", rep, err, len(all))
	}
	rep, err = o.Backfill(t.Context(), SweepOptions{})
	if err != nil || rep.Unread != len(all) || rep.Waiting != len(all) || rep.Unchanged != 1 {
		t.Errorf("backfill: report %+v, %v; want %d unread that wait for their sync", rep, err, len(all))
	}

	r.start()
	for _, c := range all {
		r.await(c, "the feature", func(s entitlement.Snapshot) bool {
			return slices.Equal(s.Features, []string{"api"}) && slices.Equal(s.Entitlements, []string{"api"})
		})
	}
	r.awaitIdle()
	rep, err = o.Backfill(t.Context(), SweepOptions{})
	if err != nil || rep.Unread != 0 || rep.Marked != 0 || rep.Unchanged != len(all)+1 {
		t.Errorf("report %+v, %v; want all as Stripe has them", rep, err)
	}
}

// The features of a customer that has none were read all the same: it is not marked every night.
func TestNoFeaturesAreRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, withFeatures)
	c := r.customer()
	r.subscribe(c)
	r.start()
	r.mark(c)
	s := r.await(c, "active", status("active"))
	if s.Entitlements == nil || len(s.Entitlements) != 0 {
		t.Errorf("entitlements %v, want none that were read", s.Entitlements)
	}
	r.awaitIdle()
	rep, err := r.operator(withFeatures).Sweep(t.Context(), SweepOptions{})
	if err != nil || rep.Unchanged != 1 || rep.Unread != 0 {
		t.Errorf("report %+v, %v; want one unchanged", rep, err)
	}
}
