package door

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// freeGuesses wrong passwords may come from one address at once, and then one every guessEvery.
	freeGuesses = 10
	guessEvery  = 10 * time.Second
	// manyAddresses bounds the memory. The address whose last wrong password is longest ago makes room.
	manyAddresses = 4096
)

// guesses slow down visitors that guess the password.
type guesses struct {
	now func() time.Time

	mu sync.Mutex
	// paid is when an address has waited for all of its wrong passwords.
	paid map[netip.Prefix]time.Time
}

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, paid: map[netip.Prefix]time.Time{}}
}

// allow reports whether an address may give a password now.
func (g *guesses) allow(from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.paid[from].Sub(g.now()) <= (freeGuesses-1)*guessEvery
}

// wrong counts a wrong password.
func (g *guesses) wrong(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if _, known := g.paid[from]; !known && len(g.paid) >= manyAddresses {
		g.makeRoom(now)
	}
	paid := g.paid[from]
	if paid.Before(now) {
		paid = now
	}
	g.paid[from] = paid.Add(guessEvery)
}

// makeRoom forgets the addresses that have paid; if none has, the one that will first.
func (g *guesses) makeRoom(now time.Time) {
	var first netip.Prefix
	var earliest time.Time
	for from, paid := range g.paid {
		if !paid.After(now) {
			delete(g.paid, from)
		} else if earliest.IsZero() || paid.Before(earliest) {
			first, earliest = from, paid
		}
	}
	if len(g.paid) >= manyAddresses {
		delete(g.paid, first)
	}
}
