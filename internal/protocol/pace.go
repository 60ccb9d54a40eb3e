package protocol

import (
	"encoding/json"
	"time"
)

// Pacing keeps a busy customer from costing a fetch per event. A sync claims a window; markers that
// arrive in it wait for its end, and one fetch serves them all. The first event is not delayed at
// all. The last one of a burst is not delayed to the end of a long window: a marker that no newer
// one replaces waits no longer than its patience.
const (
	// firstWindow and a second window of twice its length outlast the burst of a checkout (1.5 s,
	// at most 15 % more): the fetch after the second window, the third, sees all of it.
	firstWindow = 580 * time.Millisecond
	longest     = 8 * time.Second
)

// A Claim is the window of one fetch, an entry of the pace bucket. Its time is of the claiming
// syncer's clock: a wrong clock costs requests, or at most one window of waiting, never
// correctness.
type Claim struct {
	StartedAt time.Time     `json:"started_at"`
	Window    time.Duration `json:"window"` // nanoseconds
}

func (c Claim) end() time.Time { return c.StartedAt.Add(c.Window) }

// patience is how long a marker waits at most in the claim's window. It grows with the window, so
// that a customer that is never quiet costs no more.
func (c Claim) patience() time.Duration { return max(firstWindow, c.Window/4) }

// wait is how much longer, at now, a marker that was delivered at taken waits for the claim: never
// longer than the window.
func (c Claim) wait(now, taken time.Time) time.Duration {
	if c.StartedAt.After(taken) {
		taken = c.StartedAt
	}
	return min(c.end().Sub(now), taken.Add(c.patience()).Sub(now), c.Window)
}

// next is the claim that follows c at now: its window doubles while the customer stays busy.
func (c Claim) next(now time.Time) Claim {
	w := firstWindow
	if c.Window > 0 && now.Before(c.end().Add(c.Window)) {
		w = min(2*c.Window, longest)
	}
	return Claim{StartedAt: now, Window: w}
}

// Encode is the entry.
func (c Claim) Encode() []byte {
	b, _ := json.Marshal(c) // a time and a number: cannot fail
	return b
}

// DecodeClaim reads an entry. Anything but a claim of at most the longest window counts as none.
func DecodeClaim(data []byte) Claim {
	var c Claim
	if json.Unmarshal(data, &c) != nil || c.Window < 0 || c.Window > longest {
		return Claim{}
	}
	return c
}
