package sweep

import (
	"testing"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// On streams of three replicas the server answers a conflict with another error code.
func TestOvertakenOnACluster(t *testing.T) {
	t.Parallel()
	r := rigOn(t, natstest.Cluster(t, 3).Conn, topology.Options{Replicas: 3})
	ctx, c := t.Context(), stripeevent.Customer{Mode: entitlement.Test, ID: "cus_1"}
	snap := entitlement.Snapshot{Schema: entitlement.Schema, Customer: c.ID,
		Cause: entitlement.Cause{Trigger: "webhook"}}
	if _, err := r.store.WriteSnapshot(ctx, c.Key(), snap.Encode(), 0); err != nil {
		t.Fatal(err)
	}
	sw := newSweep(r.cfg, Options{})
	cur, err := sw.Read(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	w := &overwrite{group: &group{customer: c}, next: *cur.Snapshot, cur: cur}
	w.cur.Revision--
	if err := sw.overwrite(ctx, []*overwrite{w}); err != nil || sw.done.Left != 1 {
		t.Errorf("sweep over a stale revision: %+v, %v; want one left", sw.done, err)
	}

	// A conflict with a write that is still being replicated has a third code.
	if cur, err = sw.Read(ctx, c); err != nil {
		t.Fatal(err)
	}
	sw.done = Report{}
	twice := []*overwrite{{group: &group{customer: c}, next: *cur.Snapshot, cur: cur, outcome: record.Changed},
		{group: &group{customer: c}, next: *cur.Snapshot, cur: cur}}
	if err := sw.overwrite(ctx, twice); err != nil || sw.done.Changed != 1 || sw.done.Left != 1 {
		t.Errorf("two writes over one revision: %+v, %v; want one written and one left", sw.done, err)
	}
}
