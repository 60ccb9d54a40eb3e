package repair

import (
	"testing"
	"time"
)

func TestRestoredWakes(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		schedule string
		later    bool
	}{
		{"@at 2026-03-01T12:00:00Z", false},
		{"@at 2026-03-01T11:59:59.999999999Z", false},
		{"@at 2026-03-01T12:00:00.000000001Z", true},
		{"", true},
		{"@every 5m", true},
	} {
		if got := later(c.schedule, noon); got != c.later {
			t.Errorf("%q is later than noon: %v, want %v", c.schedule, got, c.later)
		}
	}
}
