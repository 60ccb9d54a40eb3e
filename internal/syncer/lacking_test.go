package syncer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

// TestSnapshotsBounded: what is too much is not read, and that is said.
func TestSnapshotsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	i, err := Inspect(t.Context(), r.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := stripeevent.ParseTypes("customer.*")
	if err != nil {
		t.Fatal(err)
	}
	// Three customers with records and without snapshots, and three snapshots of others, whose records have aged out.
	for n := range 3 {
		c := stripeevent.Customer{Mode: entitlement.Test, ID: fmt.Sprintf("cus_%d", n)}
		if err := i.AppendRecord(t.Context(), c, Record{Outcome: Created}); err != nil {
			t.Fatal(err)
		}
		if _, err := i.bucket.Put(t.Context(), fmt.Sprintf("cus_old%d", n), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	enough := snapshotLimits{within: patience, compare: 10, look: 10, lookFor: patience}
	for name, tt := range map[string]struct {
		limit func(*snapshotLimits)
		want  Snapshots
	}{
		"none":    {func(*snapshotLimits) {}, Snapshots{Entries: 3, Recorded: 3, Missing: 3, Looked: 3, Lost: 3}},
		"compare": {func(l *snapshotLimits) { l.compare = 2 }, Snapshots{Entries: 3, Recorded: 3, Counted: true}},
		"look":    {func(l *snapshotLimits) { l.look = 2 }, Snapshots{Entries: 3, Recorded: 3, Missing: 3, Looked: 2, Lost: 2, Unread: "the events"}},
		"lookFor": {func(l *snapshotLimits) { l.lookFor = 0 }, Snapshots{Entries: 3, Recorded: 3, Missing: 3, Looked: 1, Lost: 1}},
		"within":  {func(l *snapshotLimits) { l.within = time.Nanosecond }, Snapshots{Entries: 3, Recorded: 3, Unread: "the entries of the bucket"}},
	} {
		limit := enough
		tt.limit(&limit)
		natstest.Eventually(t, patience, func() error { // what is younger than a second is left out
			got, err := i.snapshots(t.Context(), marks, limit)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				return fmt.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
			return nil
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.snapshots(ended, marks, enough); err == nil {
		t.Error("no error after the end of the context")
	}
}
