package stories

import (
	"strings"
	"testing"
	"time"

	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// A decision that was made again keeps the time of the reading, which was long before, and waited for
// nothing.
func TestDecidedAgainWaitedForNothing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	s := &audit.Sync{Record: record.Record{
		Trigger: stripeevent.TriggerPlans, AsOf: now.Add(-24 * time.Hour), StartedAt: now, DurationMS: 3,
	}}
	if got := waits(s); strings.Contains(got, "24h") || !strings.Contains(got, "0 requests to Stripe") {
		t.Errorf("waits: %q", got)
	}
}
