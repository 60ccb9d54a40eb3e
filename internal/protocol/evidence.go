package protocol

import (
	"sync"
	"time"
)

// evidence tells the fault of one customer from the fault of all: it knows whether syncs of other
// customers succeed while one fails. It is what this process has seen since its start.
type evidence struct {
	mu        sync.Mutex
	successes lastTwo
	refusals  lastTwo
}

// lastTwo has the latest instants of two different customers, so that one of them is not the
// failing customer's.
type lastTwo struct{ newest, other seen }

type seen struct {
	key string
	at  time.Time
}

func (l *lastTwo) add(key string, at time.Time) {
	if l.newest.key != key {
		l.other = l.newest
	}
	l.newest = seen{key, at}
}

// besides is the latest instant of another customer than key, the zero time if there is none.
func (l *lastTwo) besides(key string) time.Time {
	if l.newest.key != key {
		return l.newest.at
	}
	return l.other.at
}

func (e *evidence) succeeded(key string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.successes.add(key, at)
}

func (e *evidence) refused(key string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusals.add(key, at)
}

// succeed reports whether other customers succeed while the customer's sync fails with disposition
// d, after it failed before at lastFailure. A refusal blames the customer unless the latest result
// of the others is a refusal too: one bad request of ours must not park all customers. Other
// failures blame it only after a success since lastFailure, because Stripe may be down.
func (e *evidence) succeed(key string, d Disposition, lastFailure time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	success := e.successes.besides(key)
	if d == Refuse {
		return success.After(e.refusals.besides(key))
	}
	return success.After(lastFailure)
}
