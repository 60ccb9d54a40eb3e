package syncer

import (
	"errors"
	"testing"

	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// On streams of three replicas the server answers a lost compare-and-set with another code. Whole
// accounts are brought in, forgotten, written meanwhile and relieved there too.
func TestWholeAccountsOnACluster(t *testing.T) {
	t.Parallel()
	cluster := natstest.Cluster(t, 3)
	r := rigOn(t, cluster.Conn, topology.Options{Replicas: 3}, nil)
	ids := r.load(120)
	o := r.operator()
	ctx := t.Context()
	if rep, err := o.Backfill(ctx, sweep.Options{}); err != nil || rep.Created != len(ids) {
		t.Fatalf("backfill: %+v, %v", rep, err)
	}
	r.purge(ours(ids[0]))
	if rep, err := o.Backfill(ctx, sweep.Options{}); err != nil || rep.Created != 1 || rep.Unchanged != len(ids)-1 {
		t.Errorf("after forgetting one: %+v, %v", rep, err)
	}

	// Both kinds of a lost write.
	s := o.s.store
	c := ours(ids[1])
	data, revision, err := s.Snapshot(ctx, c.Key())
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []uint64{0, revision - 1} {
		if _, err := s.WriteSnapshot(ctx, c.Key(), data, stale); !errors.Is(err, protocol.ErrConflict) {
			t.Errorf("write over revision %d of %d: %v, want a conflict", stale, revision, err)
		}
	}
	for _, id := range ids {
		r.mark(ours(id))
	}
	end, err := s.MarkersEnd(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := sweep.Relieve(ctx, o.s.sweeps(), stripeevent.Now, end)
	if err != nil || rep.Unchanged != len(ids) {
		t.Errorf("relief: %+v, %v", rep, err)
	}
	r.right("", ids)
}
