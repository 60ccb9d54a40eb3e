package stripesim

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Clock is the time of some customers. A [Sim] has one for all customers but those of a clock that
// [Sim.NewClock] returned: these live apart, as at Stripe the customers of a test clock do.
type Clock struct {
	sim *Sim
	now atomic.Int64 // unix nanoseconds
	mu  sync.Mutex   // held while the clock moves, so that changes are applied in order
}

// NewClock returns a clock that starts at the time of the simulator's, and moves apart from it. The
// customers that [Account.On] creates live by it, with their subscriptions and payments. Events and
// lists are in the order of the simulator's clock, whose time events have; Stripe documents neither.
func (s *Sim) NewClock() *Clock {
	c := &Clock{sim: s}
	c.now.Store(s.now.Load())
	return c
}

// On returns the same account, but it creates customers on a clock, and what it changes is changed at
// that clock's time. A customer stays on its clock when another client changes it.
func (a *Account) On(c *Clock) *Account { return &Account{w: a.w, silent: a.silent, clock: c} }

// Now returns the time of the clock. It stands still until [Clock.Advance], [Clock.AdvanceTo],
// [Clock.Live] or [Clock.RunStories] moves it.
func (c *Clock) Now() time.Time { return time.Unix(0, c.now.Load()) }

// Advance moves the clock forward by d. On the way it applies every change that is due, in order of
// time: trials end, periods renew, payments fail and are retried, subscriptions expire or end.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach(c.Now().Add(d))
}

// AdvanceTo is like [Clock.Advance], up to a point in time. It does nothing if that time has passed.
func (c *Clock) AdvanceTo(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach(at)
}

func (c *Clock) reach(target time.Time) {
	for {
		var next *world
		var at int64
		for _, w := range c.sim.allWorlds() {
			if due := w.nextDue(c); due != 0 && due <= target.Unix() && (next == nil || due < at) {
				next, at = w, due
			}
		}
		if next == nil {
			break
		}
		c.turnTo(time.Unix(at, 0))
		for next.passOne(c, at) {
		}
	}
	c.turnTo(target)
}

// turnTo sets the clock, but never back.
func (c *Clock) turnTo(t time.Time) {
	if n := t.UnixNano(); n > c.now.Load() {
		c.now.Store(n)
	}
}

// Live moves the clock with wall time, speed times as fast, until ctx ends.
func (c *Clock) Live(ctx context.Context, speed float64) {
	const beat = 100 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Now()
			c.Advance(time.Duration(float64(now.Sub(last)) * speed))
			last = now
		}
	}
}

// nextDue returns the time of the next change that is due on a clock, in unix seconds; 0 means none.
// Checkout sessions expire by the simulator's clock.
func (w *world) nextDue(c *Clock) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.dueOn(c).Next()
	if rec := w.nextExpiry(); c == w.sim.Clock && rec != nil && (at == 0 || rec.get().expires < at) {
		at = rec.get().expires
	}
	return at
}

// passOne applies one of the changes that are due at an instant, as a step of its own.
func (w *world) passOne(c *Clock, at int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(c)
	heap := w.dueOn(c)
	rec := heap.Take(at)
	if rec == nil {
		session := w.nextExpiry()
		if c != w.sim.Clock || session == nil || session.get().expires > at {
			return false
		}
		t.closeSession(session, "expired")
		t.commit()
		return true
	}
	t.pass(rec)
	heap.Book(rec, rec.get().due(), false)
	t.commit()
	return true
}
