// Package gate holds work back while it must not be taken.
package gate

import (
	"context"
	"sync"
)

// A Gate stops the taking of work, and lets it through again. Use [New]. It is safe for concurrent use.
type Gate struct {
	mu sync.Mutex
	// opened is closed while the gate is open, so waiting returns at once; shutting the gate
	// replaces it.
	opened chan struct{}
	shut   bool
}

// New returns an open gate.
func New() *Gate {
	g := &Gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

// Wait returns when the gate is open, or with the cause when ctx ends.
func (g *Gate) Wait(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Shut shuts the gate and reports whether it was open.
func (g *Gate) Shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.shut, g.opened = true, make(chan struct{})
	return true
}

// Reopen opens the gate for those that wait.
func (g *Gate) Reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		g.shut = false
		close(g.opened)
	}
}

// IsShut reports whether the gate is shut.
func (g *Gate) IsShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}
