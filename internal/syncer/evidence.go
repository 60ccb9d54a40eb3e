package syncer

import (
	"sync"
	"time"
)

// evidence tells a customer's fault from everybody's: whether other customers' syncs succeed while one fails. It is what
// this process has seen itself, from its start.
type evidence struct {
	mu        sync.Mutex
	successes lastTwo
	refusals  lastTwo
}

// lastTwo holds the latest instants of two different customers, so that there is one for "somebody else".
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

// besides is the latest instant of any customer but key, the zero time if there is none.
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

// succeed reports whether others succeed while the customer's sync fails in the way of d, for the first time or again
// after it failed at lastFailure. A refusal blames the customer unless the latest word on others is a refusal too: one
// bad request of ours must not park the fleet. Anything else needs a success since the last failure, for Stripe may be
// away altogether.
func (e *evidence) succeed(key string, d disposition, lastFailure time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	success := e.successes.besides(key)
	if d == refuse {
		return success.After(e.refusals.besides(key))
	}
	return success.After(lastFailure)
}
