package syncer

import (
	"encoding/json"
	"time"
)

// Pace keeps a busy customer from costing a fetch per event. Who fetches first claims a window; markers that arrive
// in it wait for its end, and one fetch then serves them all. The first event is not delayed at all.
const (
	// firstWindow, then one twice as long, end after the burst of a checkout (about 1.5 s): three fetches see all of it.
	firstWindow = 600 * time.Millisecond
	longest     = 8 * time.Second
)

// A claim is one fetch's window, as kept in the pace bucket. Its times are of the claiming syncer's clock: a wrong
// clock costs requests or at most one window of waiting, never correctness.
type claim struct {
	StartedAt time.Time     `json:"started_at"`
	Window    time.Duration `json:"window"` // nanoseconds
}

func (c claim) end() time.Time { return c.StartedAt.Add(c.Window) }

// wait is how long the claim still runs at now, never longer than its window.
func (c claim) wait(now time.Time) time.Duration { return min(c.end().Sub(now), c.Window) }

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
