package protocol

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"entitled/internal/stripeapi"
	"entitled/internal/timing"
)

// A Config has all that the protocol needs. Fields without a default are required.
type Config struct {
	Outside  Outside
	Observer Observer
	// Parallel bounds the webhooks' syncs that are reading Stripe at a time. As many syncs for
	// requests may, and half as many of bulk work.
	Parallel int
	// AckWait is how long the server waits for a sign of life of a marker before it delivers it
	// again.
	AckWait time.Duration
	Log     *slog.Logger

	// Timing defaults to [timing.Production].
	Timing timing.Timing
	// Room is the largest size of a snapshot, in bytes. Defaults to no limit.
	Room func() int
	// Relief is the sweep that syncs give way to. Defaults to none.
	Relief Relief
	// Pause waits for a customer's pace. Defaults to a timer.
	Pause func(ctx context.Context, d time.Duration) error
	// Now defaults to time.Now.
	Now func() time.Time
	// Together makes calls concurrently and returns when all have ended. Defaults to a goroutine
	// for each.
	Together func(calls ...func())
}

// A Protocol syncs customers. Create it with [New].
type Protocol struct {
	Config
	// fetching bounds the syncs of each kind that are reading Stripe. Each kind has its own slots,
	// so that syncs that wait for the budget of one kind hold up no other kind.
	fetching map[stripeapi.Kind]chan struct{}
	evidence *evidence
}

// New fills in the defaults of a configuration.
func New(c Config) *Protocol {
	c.Timing = cmp.Or(c.Timing, timing.Production)
	if c.Room == nil {
		c.Room = func() int { return math.MaxInt }
	}
	if c.Relief == nil {
		c.Relief = noRelief{}
	}
	if c.Pause == nil {
		c.Pause = Sleep
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Together == nil {
		c.Together = concurrently
	}
	return &Protocol{Config: c, evidence: &evidence{}, fetching: map[stripeapi.Kind]chan struct{}{
		stripeapi.Webhooks: make(chan struct{}, c.Parallel),
		stripeapi.Requests: make(chan struct{}, c.Parallel),
		stripeapi.Bulk:     make(chan struct{}, c.Parallel/2),
	}}
}

// concurrently is the default of Together. It waits for its goroutines.
func concurrently(calls ...func()) {
	var all sync.WaitGroup
	for _, call := range calls[1:] {
		all.Go(call)
	}
	calls[0]()
	all.Wait()
}

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
