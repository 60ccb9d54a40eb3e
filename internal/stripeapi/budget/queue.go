package budget

import (
	"slices"
	"sync"
	"time"

	"entitled/internal/stripeapi"
)

// permitTTL is how long a spare permit can be used.
const permitTTL = 250 * time.Millisecond

// A permit allows one request, from due on. A spare one expires at until. Both are local times. If
// several kinds wait, a waiter of its own kind gets it.
type permit struct {
	due, until time.Time
	kind       stripeapi.Kind
}

// A queue has the waiters of one replica, by kind and first come first, and its spare permits:
// those that were handed back or prefetched while nothing waited. A permit belongs to exactly one
// of: a waiter, the spare ones, the caller of Take. The queue does no I/O and never waits.
type queue struct {
	now func() time.Time

	mu      sync.Mutex // held for moments
	waiters [len(kinds)][]*waiter
	spare   []permit
}

// A waiter gets its permit, one, on a channel with room for it.
type waiter struct {
	kind stripeapi.Kind
	got  chan permit
}

// enter adds a waiter. If there is a spare permit, the waiter has it at once and is not queued.
func (q *queue) enter(kind stripeapi.Kind) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &waiter{kind: kind, got: make(chan permit, 1)}
	now := q.now()
	for len(q.spare) > 0 {
		p := q.spare[0]
		q.spare = q.spare[1:]
		if now.Before(p.until) {
			w.got <- p
			return w
		}
	}
	q.waiters[kind] = append(q.waiters[kind], w)
	return w
}

// leave removes a waiter that gives up. A permit that it has got meanwhile is granted to another.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiters[w.kind], w); i >= 0 {
		q.waiters[w.kind] = slices.Delete(q.waiters[w.kind], i, i+1)
		return
	}
	select {
	case p := <-w.got:
		q.grantOne(p)
	default:
	}
}

// grant gives each permit to the first waiter of its kind, else to one of another kind, webhooks
// first. If nothing waits, it keeps the permit as a spare one.
func (q *queue) grant(permits ...permit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range permits {
		q.grantOne(p)
	}
}

// grantOne is grant, with mu held.
func (q *queue) grantOne(p permit) {
	for _, k := range [...]stripeapi.Kind{p.kind, stripeapi.Webhooks, stripeapi.Requests, stripeapi.Bulk} {
		if waiting := q.waiters[k]; len(waiting) > 0 {
			waiting[0].got <- p
			q.waiters[k] = waiting[1:]
			return
		}
	}
	now := q.now()
	if p.until = now.Add(permitTTL); p.due.After(now) {
		p.until = p.due.Add(permitTTL)
	}
	for len(q.spare) > 0 && !now.Before(q.spare[0].until) {
		q.spare = q.spare[1:]
	}
	q.spare = append(q.spare, p)
}

// takeSpare takes a spare permit that is due, if there is one.
func (q *queue) takeSpare() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for i, p := range q.spare {
		if now.Before(p.until) && !now.Before(p.due) {
			q.spare = slices.Delete(q.spare, i, i+1)
			return true
		}
	}
	return false
}

// idle reports whether nothing waits and no permit is spare.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.spare); n > 0 && q.now().Before(q.spare[n-1].until) {
		return false
	}
	for _, waiting := range q.waiters {
		if len(waiting) > 0 {
			return false
		}
	}
	return true
}

// waiting returns the number of waiters of a kind.
func (q *queue) waiting(kind stripeapi.Kind) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiters[kind])
}
