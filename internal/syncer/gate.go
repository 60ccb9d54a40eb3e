package syncer

import (
	"context"
	"sync"
)

// A gate stops the taking of work while Stripe refuses the key.
type gate struct {
	mu sync.Mutex
	// opened is closed while the gate is open, so waiting returns at once; shutting the gate
	// replaces it.
	opened chan struct{}
	shut   bool
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

// wait returns when the gate is open, or with the cause when ctx ends.
func (g *gate) wait(ctx context.Context) error {
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

// close shuts the gate and reports whether it was open.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.shut, g.opened = true, make(chan struct{})
	return true
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		g.shut = false
		close(g.opened)
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}
