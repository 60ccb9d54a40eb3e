package inspect

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Beyond its limits, Snapshots stops reading and says so.
func TestSnapshotsBounded(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(natstest.Run(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(t.Context(), js, topology.Syncer(topology.Options{}, entitlement.Test),
		topology.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	i, err := Open(t.Context(), js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := stripeevent.ParseTypes("customer.*")
	if err != nil {
		t.Fatal(err)
	}
	// Three customers have records and no snapshot; three others have snapshots and no record.
	for n := range 3 {
		c := stripeevent.Customer{Mode: entitlement.Test, ID: fmt.Sprintf("cus_%d", n)}
		if err := i.AppendRecord(t.Context(), c, record.Record{Outcome: record.Created}); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Bucket.Put(t.Context(), fmt.Sprintf("cus_old%d", n), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	enough := snapshotLimits{within: time.Minute, compare: 10, look: 10, lookFor: time.Minute}
	for name, tt := range map[string]struct {
		limit func(*snapshotLimits)
		want  Snapshots
	}{
		"none":    {func(*snapshotLimits) {}, Snapshots{Entries: 3, Recorded: 3, Missing: 3, Looked: 3, Lost: 3, Contents: Contents{Read: true}}},
		"compare": {func(l *snapshotLimits) { l.compare = 2 }, Snapshots{Entries: 3, Recorded: 3, Counted: true}},
		"look": {func(l *snapshotLimits) { l.look = 2 },
			Snapshots{Entries: 3, Recorded: 3, Missing: 3, Looked: 2, Lost: 2, Unread: "the events",
				Contents: Contents{Read: true}}},
		"lookFor": {func(l *snapshotLimits) { l.lookFor = 0 },
			Snapshots{Entries: 3, Recorded: 3, Missing: 3, Looked: 1, Lost: 1, Contents: Contents{Read: true}}},
		"within": {func(l *snapshotLimits) { l.within = time.Nanosecond },
			Snapshots{Entries: 3, Recorded: 3, Unread: "the entries of the bucket"}},
	} {
		limit := enough
		tt.limit(&limit)
		natstest.Eventually(t, 5*time.Minute, func() error { // the last second is left out
			got, err := i.snapshots(t.Context(), marks, limit)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				return fmt.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
			return nil
		})
	}
	// With more records than entries all are compared, but more entries than compare are not read.
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_3"}
	if err := i.AppendRecord(t.Context(), c, record.Record{Outcome: record.Created}); err != nil {
		t.Fatal(err)
	}
	few := enough
	few.compare = 2
	natstest.Eventually(t, 5*time.Minute, func() error {
		got, err := i.snapshots(t.Context(), marks, few)
		want := Snapshots{Entries: 3, Recorded: 4, Missing: 4, Looked: 4, Lost: 4}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			return fmt.Errorf("%v (-want +got):\n%s", err, diff)
		}
		return nil
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.snapshots(ended, marks, enough); err == nil {
		t.Error("no error after the end of the context")
	}
}
