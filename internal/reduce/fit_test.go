package reduce

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
)

// The parts are left out in order, and access does not depend on them.
func TestWhatIsOmittedFirst(t *testing.T) {
	t.Parallel()
	boundary := int64(2_000_000_000)
	whole := func() snapshot.Snapshot {
		text := func(n int) map[string]string { return map[string]string{"k": strings.Repeat("<", n)} }
		s := snapshot.Snapshot{
			Schema: snapshot.Schema, Customer: "cus_1", Status: "active", Access: true, AccessUntil: &boundary,
			NextBoundary: &boundary,
			Features:     []string{"pro"}, Metadata: text(4000), AsOf: time.Unix(1, 1), ChangedAt: time.Unix(1, 0),
			Cause: snapshot.Cause{Trigger: "webhook"},
		}
		for i := range 20 {
			sub := snapshot.Subscription{ID: fmt.Sprintf("sub_%02d", i), Status: "active", Metadata: text(4000),
				Items: []snapshot.Item{{ID: "si_1", Price: "price_1"}}}
			if i%2 == 0 {
				sub.Status = "canceled"
			}
			s.Subscriptions = append(s.Subscriptions, sub)
		}
		return s
	}
	all := []string{snapshot.OmittedEndedMetadata, snapshot.OmittedSubscriptionMetadata,
		snapshot.OmittedEnded, snapshot.OmittedMetadata, snapshot.OmittedSubscriptions}
	w := whole()
	for i, room := range []int{contentSize(&w), contentSize(&w) - 1, 48_000, 7000, 5000, 1000} {
		s := whole()
		err := Fit(&s, room)
		if size := contentSize(&s); err != nil || size > room {
			t.Fatalf("room of %d: %v, size %d", room, err, size)
		}
		if diff := cmp.Diff(all[:i], s.Omitted, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("room of %d, omitted (-want +got):\n%s", room, diff)
		}
		if s.Status != w.Status || s.Access != w.Access || *s.AccessUntil != boundary ||
			*s.NextBoundary != boundary || !slices.Equal(s.Features, w.Features) {
			t.Errorf("room of %d: another decision: %s", room, s.Encode())
		}
		later := whole()
		later.AsOf, later.Cause = time.Unix(99, 123456789),
			snapshot.Cause{Trigger: "webhook", Event: "evt_1NffrFeUfNV2Hib"}
		if err := Fit(&later, room); err != nil || !later.Equal(&s) {
			t.Errorf("room of %d: another reading of the same state has %v", room, snapshot.Diff(&s, &later))
		}
		if back := Without(whole(), s.Omitted); !back.Equal(&s) {
			t.Errorf("without %v: %v", s.Omitted, snapshot.Diff(&s, &back))
		}
		if at, ok := plans.NextLook(&s, time.Unix(boundary, 0)); !slices.Contains(s.Omitted,
			snapshot.OmittedSubscriptions) {
			continue
		} else if !ok || at.Unix() != boundary+120 {
			t.Errorf("room of %d: wakes %v %v, want it 2 minutes after %d", room, at, ok, boundary)
		}
	}
	s := whole()
	if err := Fit(&s, 100); !errors.Is(err, ErrTooLarge) {
		t.Errorf("room of 100: %v, want errTooLarge", err)
	}
}
