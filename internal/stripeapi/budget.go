package stripeapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
)

// Rates of requests/s for a whole fleet, where none is configured. Stripe allows 100 live and 25 in test mode, and 25 per
// endpoint, all of it shared with the user's own programs.
const (
	DefaultLiveRate = 20
	DefaultTestRate = 10
)

// held is how long a place that was handed back, or taken ahead, can be used by the same replica.
const held = 250 * time.Millisecond

// KV is the part of a bucket (jetstream.KeyValue) that a [Budget] uses.
type KV interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// BudgetConfig is what a [Budget] needs to know.
type BudgetConfig struct {
	// KV is the bucket stripe_state.
	KV KV
	// Mode names the key, budget.<mode>.
	Mode entitlement.Mode
	// Rate is the fleet's requests/s. Defaults (0 or less) to [DefaultLiveRate] or [DefaultTestRate]. Every replica
	// should have the same.
	Rate float64
	// Log tells of halvings and of a bucket out of reach. Defaults to none.
	Log *slog.Logger
	// Now is the local clock, of which only differences are used. Defaults to time.Now.
	Now func() time.Time
}

// A Budget is one replica's access to the fleet's token bucket of requests to Stripe, kept in NATS KV by compare-and-set.
//
// The fleet together makes at most Rate requests/s, with bursts of at most one second's worth, and waiters of one kind, of all
// replicas, are served about in the order of asking. One write serves all waiters of one kind of a replica.
//
// Half of the rate is for [Requests], the other half for [Webhooks] and [Bulk], webhooks first: bulk work takes only what leaves
// something for the next webhook. What one half does not use the other has. Time is the NATS server's: a replica whose clock is wrong by minutes takes no more and no
// less than others. A key that is missing or holds something else starts as an empty bucket, never as a burst.
//
// Without NATS there are no places: what other replicas take then cannot be known, and what would be fetched could not be
// written. It is safe for concurrent use and has no goroutine of its own: one of those waiting does the work for all.
type Budget struct {
	kv   KV
	key  string
	rule rule
	log  *slog.Logger
	now  func() time.Time

	lanes [len(kinds)]lane // by Kind

	// mu is held for moments only, never while the bucket is asked. Under it every place has one owner: a waiter, spare,
	// or nobody any more.
	mu     sync.Mutex
	spare  []place // handed back, or taken ahead, while nobody waited
	clock  serverClock
	last   bucket    // as last seen …
	lastAt time.Time // … at this local time
	out    bool      // the bucket is out of reach, and that was logged
	usage  Usage
}

// A lane is the waiters of one kind, first come first.
type lane struct {
	kind    Kind
	turn    chan struct{} // held by the waiter that asks the bucket for all
	waiters []*waiter
}

type waiter struct{ got chan place }

// A place may be used from due on; due and until are local times. kind is whose it is, if any of them wait.
type place struct {
	due, until time.Time
	kind       Kind
}

// Usage says how a replica's budget is used. Counts are since the start.
type Usage struct {
	// Rate is the fleet's requests/s now, Full the configured ones.
	Rate, Full float64
	// Places is what was left in the bucket when it was last seen; below 0 they are promised.
	Places float64
	// Waiting are this replica's waiters, by [Kind].
	Waiting [len(kinds)]int
	// Taken counts places handed to a caller, Returned those handed back, Halved this replica's halvings, Writes and
	// Conflicts its compare-and-sets that won and lost.
	Taken, Returned, Halved, Writes, Conflicts uint64
}

// NewBudget returns the budget of a mode. It does not reach for the bucket yet.
func NewBudget(cfg BudgetConfig) *Budget {
	rate := float64(DefaultTestRate)
	if cfg.Mode == entitlement.Live {
		rate = DefaultLiveRate
	}
	if cfg.Rate > 0 {
		rate = cfg.Rate
	}
	b := &Budget{
		kv:   cfg.KV,
		key:  "budget." + string(cfg.Mode),
		rule: rule(rate),
		log:  cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		now:  cfg.Now,
	}
	for _, k := range kinds {
		b.lanes[k] = lane{kind: k, turn: make(chan struct{}, 1)}
	}
	if b.now == nil {
		b.now = time.Now
	}
	b.last, b.lastAt = b.rule.empty(), b.now()
	return b
}

// Take waits for a place, for one request. Its error is the context's, with the bucket's if that was out of reach; there is
// no place then, and one that was promised goes to another waiter or expires.
func (b *Budget) Take(ctx context.Context, kind Kind) error {
	l := &b.lanes[kind]
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("place in %s: %w", b.key, err)
	}
	w := b.enter(l)
	select {
	case p := <-w.got:
		return b.ripen(ctx, p)
	default:
	}
	var failed error
	for {
		select {
		case p := <-w.got:
			return b.ripen(ctx, p)
		case l.turn <- struct{}{}:
			p, err := b.fill(ctx, l, w)
			<-l.turn
			if err == nil {
				return b.ripen(ctx, p)
			}
			failed = err
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			b.leave(l, w)
			err := ctx.Err()
			if failed != nil && !errors.Is(failed, err) {
				err = fmt.Errorf("%w: %w", failed, err)
			} else if failed != nil {
				err = failed
			}
			return fmt.Errorf("place in %s: %w", b.key, err)
		}
	}
}

// AtHand takes a place that this replica has, if it has one that is due: one that was handed back, or taken ahead. It asks nobody and does not wait.
func (b *Budget) AtHand() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for i, p := range b.spare {
		if now.Before(p.until) && !now.Before(p.due) {
			b.spare = append(b.spare[:i:i], b.spare[i+1:]...)
			b.usage.Taken++
			return true
		}
	}
	return false
}

// Ahead takes a place to have at hand, if there is none. It does so only while the bucket is so full that the place would have overflowed by the
// time that it expires: bulk work and other replicas lose nothing when it is not used.
func (b *Budget) Ahead(ctx context.Context) {
	b.mu.Lock()
	busy := len(b.spare) > 0 && b.now().Before(b.spare[len(b.spare)-1].until)
	for _, k := range kinds {
		busy = busy || len(b.lanes[k].waiters) > 0
	}
	b.mu.Unlock()
	if busy {
		return
	}
	_, c, err := b.edit(ctx, func(now bucket) (change, bool) {
		if now.left()+held.Seconds()*b.rule.rate(now) < b.rule.capacity(now)+1 {
			return change{}, false
		}
		return change{take: 1, kind: Webhooks}, false
	})
	if err != nil || c.take == 0 {
		return // Take asks for itself, and says what is wrong
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.give(place{due: b.now()})
}

// Return hands back a place that was taken and not used: to a waiter of this replica, now or soon, webhooks first; else it expires.
func (b *Budget) Return() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Returned++
	b.give(place{due: b.now()})
}

// enter queues up, or serves at once from what was handed back.
func (b *Budget) enter(l *lane) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &waiter{got: make(chan place, 1)}
	now := b.now()
	for len(b.spare) > 0 {
		p := b.spare[0]
		b.spare = b.spare[1:]
		if now.Before(p.until) {
			w.got <- p
			return w
		}
	}
	l.waiters = append(l.waiters, w)
	return w
}

// leave gives up waiting. A place that came meanwhile goes to another.
func (b *Budget) leave(l *lane, w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range l.waiters {
		if other == w {
			l.waiters = append(l.waiters[:i:i], l.waiters[i+1:]...)
			return
		}
	}
	select {
	case p := <-w.got:
		b.give(p)
	default:
	}
}

// give hands a place to a waiter of its kind, else to one of another, else keeps it for a while. b.mu is held.
func (b *Budget) give(p place) {
	for _, k := range [...]Kind{p.kind, Webhooks, Requests, Bulk} {
		if l := &b.lanes[k]; len(l.waiters) > 0 {
			l.waiters[0].got <- p
			l.waiters = l.waiters[1:]
			return
		}
	}
	now := b.now()
	if p.until = now.Add(held); p.due.After(now) {
		p.until = p.due.Add(held)
	}
	for len(b.spare) > 0 && !now.Before(b.spare[0].until) {
		b.spare = b.spare[1:]
	}
	b.spare = append(b.spare, p)
}

// ripen waits until a promised place is due.
func (b *Budget) ripen(ctx context.Context, p place) error {
	if err := wait(ctx, p.due.Sub(b.now())); err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.give(p)
		return fmt.Errorf("place in %s: %w", b.key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Taken++
	return nil
}

// fill asks the bucket for the lane's waiters until w has its place. Its error is the last of the bucket's, or the
// context's, and comes only when the context has ended.
func (b *Budget) fill(ctx context.Context, l *lane, w *waiter) (place, error) {
	const first, last = 50 * time.Millisecond, time.Second
	backoff := first
	for {
		pause, err := b.reserve(ctx, l)
		if err != nil && ctx.Err() == nil {
			pause, backoff = backoff, min(2*backoff, last)
		} else {
			backoff = first
		}
		select {
		case p := <-w.got:
			return p, nil
		default:
		}
		t := time.NewTimer(pause)
		select {
		case p := <-w.got:
			t.Stop()
			return p, nil
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return place{}, cmp.Or(err, ctx.Err())
		}
	}
}

// reserve takes as many places as the lane has waiters and the bucket allows, or says when to try again.
func (b *Budget) reserve(ctx context.Context, l *lane) (pause time.Duration, err error) {
	seen, c, err := b.edit(ctx, func(now bucket) (change, bool) {
		b.mu.Lock()
		wanted := len(l.waiters)
		b.mu.Unlock()
		if wanted == 0 {
			return change{}, false
		}
		n, w := b.rule.allot(now, wanted, l.kind)
		// Replicas that wait for the same place should not all reach for it at once.
		pause = w + rand.N(w/2+time.Millisecond)
		if n == 0 {
			return change{}, true
		}
		return change{take: n, kind: l.kind}, n < wanted || now.left() < float64(n)
	})
	b.reached(ctx, err)
	if err != nil || c.take == 0 {
		return pause, err
	}
	rate, now := b.rule.rate(seen), b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range c.take {
		due := now
		if short := float64(i+1) - seen.left() - tiny; short > 0 {
			due = now.Add(time.Duration(short / rate * float64(time.Second)))
		}
		b.give(place{due: due, kind: l.kind})
	}
	return 0, nil
}

// Throttled halves the fleet's rate, down to a tenth and at least 1 request/s, because Stripe answered 429; it does nothing
// if any replica did so within 500 ms. The rate is back to full 20 s after. It fails if the bucket is out of reach.
func (b *Budget) Throttled(ctx context.Context) error {
	_, c, err := b.edit(ctx, func(now bucket) (change, bool) {
		if now.Since < halveEvery.Seconds() {
			return change{}, true
		}
		return change{halve: true}, false
	})
	if err != nil {
		return fmt.Errorf("halve the rate of %s: %w", b.key, err)
	}
	if c.halve {
		u := b.Usage()
		b.log.Warn("Stripe throttles: fleet's request rate halved", "rate", u.Rate, "full", u.Full)
	}
	return nil
}

// Usage is for metrics.
func (b *Budget) Usage() Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.usage
	u.Full = float64(b.rule)
	u.Rate = b.rule.rate(b.rule.after(b.last, b.now().Sub(b.lastAt)))
	u.Places = b.last.left()
	for _, k := range kinds {
		u.Waiting[k] = len(b.lanes[k].waiters)
	}
	return u
}

// reached logs the first failure to reach the bucket, and its end.
func (b *Budget) reached(ctx context.Context, err error) {
	b.mu.Lock()
	was := b.out
	out := err != nil && (was || ctx.Err() == nil) // a waiter that gives up says nothing of the bucket
	b.out = out
	b.mu.Unlock()
	switch {
	case out && !was:
		b.log.Warn("Stripe budget out of reach: no requests until it is back", "key", b.key, "err", err)
	case was && !out:
		b.log.Info("Stripe budget is back", "key", b.key)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
