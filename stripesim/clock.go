package stripesim

import (
	"container/heap"
	"context"
	"time"
)

// Now returns the time of the simulator's clock. The clock stands still until [Sim.Advance],
// [Sim.AdvanceTo], [Sim.Live] or [Sim.RunStories] moves it.
func (s *Sim) Now() time.Time { return time.Unix(0, s.now.Load()) }

// Advance moves the clock forward by d. On the way it applies every change that is due, in order of
// time: trials end, periods renew, payments fail and are retried, subscriptions expire or end.
func (s *Sim) Advance(d time.Duration) {
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	s.reach(s.Now().Add(d))
}

// AdvanceTo is like [Sim.Advance], up to a point in time. It does nothing if that time has passed.
func (s *Sim) AdvanceTo(at time.Time) {
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	s.reach(at)
}

func (s *Sim) reach(target time.Time) {
	for {
		var next *world
		var at int64
		for _, w := range s.allWorlds() {
			if due := w.nextDue(); due != 0 && due <= target.Unix() && (next == nil || due < at) {
				next, at = w, due
			}
		}
		if next == nil {
			break
		}
		s.turnTo(time.Unix(at, 0))
		next.passAll(at)
	}
	s.turnTo(target)
}

// turnTo sets the clock, but never back.
func (s *Sim) turnTo(t time.Time) {
	if n := t.UnixNano(); n > s.now.Load() {
		s.now.Store(n)
	}
}

// Live moves the clock with wall time, speed times as fast, until ctx ends.
func (s *Sim) Live(ctx context.Context, speed float64) {
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
			s.Advance(time.Duration(float64(now.Sub(last)) * speed))
			last = now
		}
	}
}

// nextDue returns the time of the next change that is due, in unix seconds; 0 means none.
func (w *world) nextDue() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.due.next()
	if rec := w.nextExpiry(); rec != nil && (at == 0 || rec.get().expires < at) {
		at = rec.get().expires
	}
	return at
}

// passAll applies the changes that are due at one instant, each as a step of its own.
func (w *world) passAll(at int64) {
	for w.passOne(at) {
	}
}

func (w *world) passOne(at int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(w.sim.Now().Unix())
	rec := w.due.take(at)
	if rec == nil {
		session := w.nextExpiry()
		if session == nil || session.get().expires > at {
			return false
		}
		t.closeSession(session, "expired")
		t.commit()
		return true
	}
	t.pass(rec)
	w.due.book(rec, rec.get().due(), false)
	t.commit()
	return true
}

// dueHeap orders subscriptions by their next change. An entry is stale, and skipped, if its time is
// no longer the booked time of its subscription.
type dueHeap []dueEntry

type dueEntry struct {
	at  int64
	rec *subRecord
}

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].rec.seq < h[j].rec.seq
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(dueEntry)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// book sets when rec is next due, in unix seconds; 0 means never. While loading, entries are
// appended and the heap is built once at the end.
func (h *dueHeap) book(rec *subRecord, at int64, loading bool) {
	if rec.booked == at {
		return
	}
	rec.booked = at
	switch {
	case at == 0:
	case loading:
		*h = append(*h, dueEntry{at, rec})
	default:
		heap.Push(h, dueEntry{at, rec})
	}
}

func (h *dueHeap) next() int64 {
	for len(*h) > 0 {
		if e := (*h)[0]; e.rec.booked == e.at {
			return e.at
		}
		heap.Pop(h)
	}
	return 0
}

// take removes and returns the first subscription due at or before at.
func (h *dueHeap) take(at int64) *subRecord {
	if due := h.next(); due == 0 || due > at {
		return nil
	}
	e := heap.Pop(h).(dueEntry)
	e.rec.booked = 0
	return e.rec
}
