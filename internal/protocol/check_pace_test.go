package protocol

import (
	"testing"
	"time"

	"entitled/internal/stripeevent"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestClaimWindows(t *testing.T) {
	t.Parallel()
	claimed := func(ago, window time.Duration) Claim { return Claim{StartedAt: noon.Add(-ago), Window: window} }
	for _, c := range []struct {
		name string
		last Claim
		// wait is that of a marker taken just now.
		wait, next time.Duration
	}{
		{"no claim", Claim{}, 0, firstWindow},
		{"just claimed", claimed(0, firstWindow), firstWindow, 2 * firstWindow},
		{"half way", claimed(firstWindow/2, firstWindow), firstWindow / 2, 2 * firstWindow},
		{"just claimed for long", claimed(0, 4*firstWindow), firstWindow, 8 * firstWindow},
		{"just claimed for as long as can be", claimed(0, longest), longest / 4, longest},
		{"near the end of a long one", claimed(longest-time.Second, longest), time.Second, longest},
		{"at its end", claimed(firstWindow, firstWindow), 0, 2 * firstWindow},
		{"within one window of its end", claimed(2*firstWindow-1, firstWindow), 0, 2 * firstWindow},
		{"a window after its end", claimed(2*firstWindow, firstWindow), 0, firstWindow},
		{"busy", claimed(3*time.Second, 2400*time.Millisecond), 0, 4800 * time.Millisecond},
		{"busy as can be", claimed(8*time.Second, longest), 0, longest},
		{"busy, then quiet for long", claimed(time.Hour, longest), 0, firstWindow},
		// A claim by a clock that is ahead delays no sync longer than its window.
		{"claimed an hour from now", claimed(-time.Hour, firstWindow), firstWindow, 2 * firstWindow},
		{"claimed a second from now", claimed(-time.Second, longest), time.Second + longest/4, longest},
		// One of a clock that is behind costs a request.
		{"claimed an hour ago by a clock that is behind", claimed(time.Hour, firstWindow), 0, firstWindow},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := max(c.last.wait(noon, noon), 0); got != c.wait {
				t.Errorf("waits %s, want %s", got, c.wait)
			}
			next := c.last.next(noon)
			if next.Window != c.next || !next.StartedAt.Equal(noon) {
				t.Errorf("next claim %v, want %s from now", next, c.next)
			}
			if back := DecodeClaim(next.Encode()); back.Window != next.Window || !back.StartedAt.Equal(next.StartedAt) {
				t.Errorf("decoded %v, encoded %v", back, next)
			}
		})
	}
}

func TestPatience(t *testing.T) {
	t.Parallel()
	c := Claim{StartedAt: noon, Window: 4 * firstWindow}
	for _, x := range []struct{ taken, now, wait time.Duration }{
		{0, 0, firstWindow},
		{-time.Hour, 0, firstWindow}, // the sync that lost the claim waits for it
		{firstWindow, firstWindow, firstWindow},
		{firstWindow, 3 * firstWindow / 2, firstWindow / 2},
		{firstWindow, 2 * firstWindow, 0},
		{7 * firstWindow / 2, 7 * firstWindow / 2, firstWindow / 2},
	} {
		if got := c.wait(noon.Add(x.now), noon.Add(x.taken)); got != x.wait {
			t.Errorf("taken at %s, at %s: waits %s, want %s", x.taken, x.now, got, x.wait)
		}
	}
}

func TestWindowsOfABurst(t *testing.T) {
	t.Parallel()
	// A customer who never rests: each claim follows the end of the one before.
	var c Claim
	now := noon
	for _, want := range []time.Duration{580, 1160, 2320, 4640, 8000, 8000} {
		c = c.next(now)
		if c.Window != want*time.Millisecond {
			t.Errorf("window %s, want %s", c.Window, want*time.Millisecond)
		}
		now = c.end()
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
		if c := DecodeClaim([]byte(data)); c != (Claim{}) {
			t.Errorf("%s is taken for %v", data, c)
		}
	}
}

// A webhook's task begins at once if it need not wait. Other tasks read the claim first, and take
// no permit here.
func TestBudgetAtOnce(t *testing.T) {
	t.Parallel()
	var taken int
	p := New(Config{Outside: countsPlaces{taken: &taken}, Parallel: parallelOfTests})
	for _, tt := range []struct {
		name string
		Task Task
		want bool
	}{
		{"a webhook's", Task{Seq: 1, Lane: stripeevent.Now}, true},
		{"bulk work", Task{Seq: 1, Lane: stripeevent.Bulk}, false},
		{"a request's", Task{Lane: stripeevent.Now}, false},
	} {
		before := taken
		a := &attempt{Protocol: p, task: tt.Task}
		if ok := a.budgetAtOnce(); ok != tt.want || (taken > before) != tt.want {
			t.Errorf("%s: %t, %d permits taken", tt.name, ok, taken-before)
		}
		a.permit = false // as if it were used
		a.release()
	}
	for range parallelOfTests {
		if !(&attempt{Protocol: p, task: Task{Seq: 1, Lane: stripeevent.Now}}).budgetAtOnce() {
			t.Fatal("a slot is gone")
		}
	}
	before := taken
	if (&attempt{Protocol: p, task: Task{Seq: 1, Lane: stripeevent.Now}}).budgetAtOnce() || taken > before {
		t.Error("all slots are taken")
	}
}

// countsPlaces has always one at hand.
type countsPlaces struct {
	Outside
	taken *int
}

func (c countsPlaces) TryPermit() bool {
	*c.taken++
	return true
}
