package syncer

import (
	"encoding/json"
	"time"
)

// Pace keeps a busy customer from costing a fetch per event. Who fetches first claims a window; markers that arrive
// in it wait for its end, and one fetch then serves them all. The first event is not delayed at all. The last one of a
// burst is not delayed to the end of a long window: a marker that no newer one replaces loses patience before.
const (
	// firstWindow, then one twice as long, end after the burst of a checkout (1.5 s, at most 15 % more): three fetches see all of it.
	firstWindow = 580 * time.Millisecond
	longest     = 8 * time.Second
)

// A claim is one fetch's window, as kept in the pace bucket. Its times are of the claiming syncer's clock: a wrong
// clock costs requests or at most one window of waiting, never correctness.
type claim struct {
	StartedAt time.Time     `json:"started_at"`
	Window    time.Duration `json:"window"` // nanoseconds
}

func (c claim) end() time.Time { return c.StartedAt.Add(c.Window) }

// patience is how long a marker waits at most in the claim's window. It grows with the window, so that customers who are
// never quiet cost no more.
func (c claim) patience() time.Duration { return max(firstWindow, c.Window/4) }

// wait is how long at now a marker that was taken at taken waits for the claim, never longer than its window.
func (c claim) wait(now, taken time.Time) time.Duration {
	if c.StartedAt.After(taken) {
		taken = c.StartedAt
	}
	return min(c.end().Sub(now), taken.Add(c.patience()).Sub(now), c.Window)
}

// next is the claim that follows c at now: its window doubles while the customer stays busy.
func (c claim) next(now time.Time) claim {
	w := firstWindow
	if c.Window > 0 && now.Before(c.end().Add(c.Window)) {
		w = min(2*c.Window, longest)
	}
	return claim{StartedAt: now, Window: w}
}

func (c claim) encode() []byte {
	b, _ := json.Marshal(c) // a time and a number: cannot fail
	return b
}

// decodeClaim reads a bucket entry; one that is not a claim, or claims more than anyone may, is no claim.
func decodeClaim(data []byte) claim {
	var c claim
	if json.Unmarshal(data, &c) != nil || c.Window < 0 || c.Window > longest {
		return claim{}
	}
	return c
}
