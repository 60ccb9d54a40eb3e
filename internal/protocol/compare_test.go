package protocol

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement/snapshot"
)

// If very many paths change at once, the record has their first fields.
func TestChangedPathsAreFew(t *testing.T) {
	t.Parallel()
	before := snapshot.Snapshot{Schema: snapshot.Schema, Customer: "cus_1", Status: "active", Access: true}
	for i := range 2000 {
		before.Subscriptions = append(before.Subscriptions,
			snapshot.Subscription{ID: fmt.Sprintf("sub_%d", i), Status: "active"})
	}
	next := before
	next.Status, next.Access = "canceled", false
	next.Subscriptions = slices.Clone(before.Subscriptions)
	for _, c := range []struct {
		changes int
		want    []string
	}{
		{0, []string{"access", "status"}},
		{1, []string{"access", "status", "subscriptions.sub_0.status"}},
		{2000, []string{"access", "status", "subscriptions"}},
	} {
		for i := range c.changes {
			next.Subscriptions[i].Status = "canceled"
		}
		if diff := cmp.Diff(c.want, changedPaths(&before, &next)); diff != "" {
			t.Errorf("%d subscriptions (-want +got):\n%s", c.changes, diff)
		}
	}
}
