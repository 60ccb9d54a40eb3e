// Package idempotency keeps the answers to requests with an Idempotency-Key, as Stripe's API v1 does:
// the first answer under a key is saved for a day, an error too, and given again.
package idempotency

import (
	"sync"
	"time"
)

// Kept is how long an answer is saved. Stripe says at least 24 hours.
const Kept = 24 * time.Hour

// MaxKey is the length of the longest key, in characters.
const MaxKey = 255

// An Outcome says what becomes of a request.
type Outcome int

// The outcomes of [Keys.Begin].
const (
	Fresh    Outcome = iota // run the request, then call Save or Forget
	Replay                  // answer what was saved
	InFlight                // another request under the key is running
	OtherPath
	OtherParams
)

// An Answer is one that was saved.
type Answer struct {
	Status  int
	Body    []byte
	Request string // the id of the request that was answered
}

type entry struct {
	path, params string
	answer       *Answer // nil while the request runs
	at           time.Time
}

// Keys are the keys of one account in one mode. The zero value is empty, and safe for concurrent use.
type Keys struct {
	mu      sync.Mutex
	entries map[string]*entry
	sweepAt int // the number of entries at which the old ones are removed
}

// Begin takes a key for a request. Two requests are the same if path and params are.
func (k *Keys) Begin(key, path, params string, now time.Time) (Outcome, Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[key]
	switch {
	case e == nil || e.answer != nil && now.Sub(e.at) >= Kept:
		k.sweep(now)
		k.entries[key] = &entry{path: path, params: params, at: now}
		return Fresh, Entry{Path: path}
	case e.path != path:
		return OtherPath, Entry{Path: e.path}
	case e.params != params:
		return OtherParams, Entry{Path: e.path}
	case e.answer == nil:
		return InFlight, Entry{Path: e.path}
	}
	return Replay, Entry{Path: e.path, Answer: *e.answer}
}

// An Entry is what Begin has found under a key.
type Entry struct {
	Path   string
	Answer Answer // for Replay
}

// Save ends a request with the answer that later ones get.
func (k *Keys) Save(key string, a Answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[key]; e != nil {
		e.answer = &a
	}
}

// Forget ends a request whose execution has not begun.
func (k *Keys) Forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.entries, key)
}

func (k *Keys) sweep(now time.Time) {
	if k.entries == nil {
		k.entries = map[string]*entry{}
	}
	if len(k.entries) < k.sweepAt {
		return
	}
	for key, e := range k.entries {
		if e.answer != nil && now.Sub(e.at) >= Kept {
			delete(k.entries, key)
		}
	}
	k.sweepAt = 2*len(k.entries) + 1000
}
