package decision

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
)

// A snapshot of an earlier version has no grants: its features and its end count.
func TestSnapshotOfEarlierVersion(t *testing.T) {
	t.Parallel()
	now := time.Now()
	end := now.Add(time.Minute).Unix()
	s := entitlement.Snapshot{Customer: "cus_1", Status: "active", Access: true, Features: []string{"old"},
		AccessUntil: &end}
	found := Found{Entries: []entitlement.Entry{{Key: "cus_1", Snapshot: s}}}
	d := Of(Ref{Name: "cus_1"}, found, nil, now)
	if !d.Allowed || d.Until == nil || *d.Until != *s.AccessUntil || !cmp.Equal(d.Features, []string{"old"}) {
		t.Errorf("a snapshot of an earlier version: %+v", d)
	}
	d = Of(Ref{Name: "cus_1"}, found, nil, now.Add(2*time.Minute))
	if d.Allowed || d.Until != nil || len(d.Features) > 0 {
		t.Errorf("and after its end: %+v", d)
	}
}
