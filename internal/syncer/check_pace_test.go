package syncer

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestClaimWindows(t *testing.T) {
	t.Parallel()
	claimed := func(ago, window time.Duration) claim { return claim{StartedAt: noon.Add(-ago), Window: window} }
	for _, c := range []struct {
		name       string
		last       claim
		wait, next time.Duration
	}{
		{"no claim", claim{}, 0, firstWindow},
		{"just claimed", claimed(0, firstWindow), firstWindow, 2 * firstWindow},
		{"half way", claimed(300*time.Millisecond, firstWindow), 300 * time.Millisecond, 2 * firstWindow},
		{"at its end", claimed(firstWindow, firstWindow), 0, 2 * firstWindow},
		{"within one window of its end", claimed(2*firstWindow-1, firstWindow), 0, 2 * firstWindow},
		{"a window after its end", claimed(2*firstWindow, firstWindow), 0, firstWindow},
		{"busy", claimed(3*time.Second, 2400*time.Millisecond), 0, 4800 * time.Millisecond},
		{"busy as can be", claimed(8*time.Second, longest), 0, longest},
		{"busy, then quiet for long", claimed(time.Hour, longest), 0, firstWindow},
		// A claim of a clock that is ahead holds nobody longer than its window.
		{"claimed an hour from now", claimed(-time.Hour, firstWindow), firstWindow, 2 * firstWindow},
		{"claimed a second from now", claimed(-time.Second, longest), longest, longest},
		// One of a clock that is behind costs a request.
		{"claimed an hour ago by a clock that is behind", claimed(time.Hour, firstWindow), 0, firstWindow},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := max(c.last.wait(noon), 0); got != c.wait {
				t.Errorf("waits %s, want %s", got, c.wait)
			}
			next := c.last.next(noon)
			if next.Window != c.next || !next.StartedAt.Equal(noon) {
				t.Errorf("next claim %v, want %s from now", next, c.next)
			}
			if back := decodeClaim(next.encode()); back.Window != next.Window || !back.StartedAt.Equal(next.StartedAt) {
				t.Errorf("decoded %v, encoded %v", back, next)
			}
		})
	}
}

func TestWindowsOfABurst(t *testing.T) {
	t.Parallel()
	// A customer who never rests: each claim follows the end of the one before.
	var c claim
	now := noon
	for _, want := range []time.Duration{600, 1200, 2400, 4800, 8000, 8000} {
		c = c.next(now)
		if c.Window != want*time.Millisecond {
			t.Errorf("window %s, want %s", c.Window, want*time.Millisecond)
		}
		now = now.Add(c.wait(now))
	}
}

func TestForeignClaimsAreNone(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		"", "null", "{", "7", `"x"`, `[]`,
		`{"started_at":"2026-03-01T12:00:00Z","window":-1}`,
		`{"started_at":"2026-03-01T12:00:00Z","window":8000000001}`,
		`{"started_at":"2026-03-01T12:00:00Z","window":1e30}`,
		`{"started_at":12,"window":600000000}`,
	} {
		if c := decodeClaim([]byte(data)); c != (claim{}) {
			t.Errorf("%s is taken for %v", data, c)
		}
	}
}
