package budget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeapi"
)

// The kinds of waiters, in the order of their numbers.
var kinds = [...]stripeapi.Kind{stripeapi.Webhooks, stripeapi.Requests, stripeapi.Bulk}

// Rates of a whole fleet in requests/s, where none is configured. Stripe allows 100 in live mode
// and 25 in test mode, and 25 per endpoint, all of it shared with the user's own programs.
const (
	DefaultLiveRate = 20
	DefaultTestRate = 10
)

// Config configures a [Budget].
type Config struct {
	// KV is the bucket stripe_state.
	KV KV
	// Mode names the key, budget.<mode>.
	Mode snapshot.Mode
	// Rate is the fleet's requests/s. Defaults (0 or less) to [DefaultLiveRate] or
	// [DefaultTestRate]. Every replica should have the same.
	Rate float64
	// Log gets a line for a halving and for a KV bucket out of reach. Defaults to none.
	Log *slog.Logger
	// Now is the local clock, of which only differences are used. Defaults to time.Now.
	Now func() time.Time
}

// A Budget is one replica's access to the fleet's token bucket of requests to Stripe. A permit
// allows one request.
//
// The fleet together makes at most Rate requests/s, with bursts of at most one second's worth.
// Waiters of one kind, of all replicas, are served about in the order in which they ask. One write
// serves all waiters of one kind of a replica.
//
// Half of the rate is for [stripeapi.Requests], the other half for [stripeapi.Webhooks] and
// [stripeapi.Bulk], webhooks first: bulk work takes a permit only if one is left for the next webhook.
// Each half may use the permits that the other leaves. Time is the NATS server's: a replica whose
// clock is wrong by minutes takes no more and no less than others. A key that is missing or damaged
// starts as an empty bucket, never as a burst.
//
// Without NATS there are no permits: the other replicas' requests are unknown then, and a snapshot
// could not be written. A Budget is safe for concurrent use and starts no goroutine: one waiter of
// each kind asks for all of them.
//
// Its three parts are bucket (the arithmetic), ledger (the bucket in NATS) and queue (the waiters).
type Budget struct {
	ledger ledger
	queue  queue
	// asking has, by kind, room for the one waiter that asks the ledger for all.
	asking [len(kinds)]chan struct{}

	taken, returned atomic.Uint64
}

// Usage describes the use of a replica's budget. Counts are since the start.
type Usage struct {
	// Rate is the fleet's requests/s now, Full the configured ones.
	Rate, Full float64
	// Permits are the permits left in the bucket when it was last seen. Below 0, permits were taken
	// that are not due yet.
	Permits float64
	// Waiting are this replica's waiters, by [stripeapi.Kind].
	Waiting [len(kinds)]int
	// Taken counts permits given to a caller, Returned those handed back, Halved this replica's
	// halvings, Writes and Conflicts its compare-and-sets that won and lost.
	Taken, Returned, Halved, Writes, Conflicts uint64
}

// New returns the budget of a mode. It does not read the KV bucket yet.
func New(cfg Config) *Budget {
	rate := float64(DefaultTestRate)
	if cfg.Mode == snapshot.Live {
		rate = DefaultLiveRate
	}
	if cfg.Rate > 0 {
		rate = cfg.Rate
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	b := &Budget{
		ledger: ledger{
			kv: cfg.KV, key: "budget." + string(cfg.Mode), rule: rule(rate),
			log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
			now: now, last: rule(rate).empty(), lastAt: now(),
		},
		queue: queue{now: now},
	}
	for _, k := range kinds {
		b.asking[k] = make(chan struct{}, 1)
	}
	return b
}

// Take waits for a permit. Its error is the context's, joined with that of the KV bucket if it was
// out of reach. The caller has no permit then: one that was on its way goes to another waiter, or
// expires.
func (b *Budget) Take(ctx context.Context, kind stripeapi.Kind) error {
	if err := ctx.Err(); err != nil {
		return b.noPermit(err)
	}
	w := b.queue.enter(kind)
	select {
	case p := <-w.got:
		return b.waitDue(ctx, p)
	default:
	}
	var failed error
	for ctx.Err() == nil {
		select {
		case p := <-w.got:
			return b.waitDue(ctx, p)
		case b.asking[kind] <- struct{}{}:
			p, err := b.ask(ctx, w)
			<-b.asking[kind]
			if err == nil {
				return b.waitDue(ctx, p)
			}
			failed = err
		case <-ctx.Done():
		}
	}
	b.queue.leave(w)
	err := ctx.Err()
	if failed != nil && !errors.Is(failed, err) {
		err = fmt.Errorf("%w: %w", failed, err)
	} else if failed != nil {
		err = failed
	}
	return b.noPermit(err)
}

func (b *Budget) noPermit(err error) error {
	return fmt.Errorf("permit of %s: %w", b.ledger.key, err)
}

// TryTake takes a spare permit that is due: one that this replica handed back or prefetched. It
// reports whether there was one. It does not wait, and does not read the KV bucket.
func (b *Budget) TryTake() bool {
	if !b.queue.takeSpare() {
		return false
	}
	b.taken.Add(1)
	return true
}

// Prefetch takes a permit to keep as a spare one, if this replica has none. It does so only while
// the bucket is so full that the permit would be lost before it expires. So neither bulk work nor
// another replica loses anything if it is not used.
func (b *Budget) Prefetch(ctx context.Context) {
	if !b.queue.idle() {
		return
	}
	_, c, err := b.ledger.edit(ctx, func(now bucket) (change, bool) {
		if !b.ledger.rule.overflows(now, permitTTL) {
			return change{}, false
		}
		return change{take: 1, kind: stripeapi.Webhooks}, false
	})
	if err != nil || c.take == 0 {
		return // Take asks again, and returns the error
	}
	b.queue.grant(permit{due: b.queue.now()})
}

// Return hands back a permit that was taken and not used. It goes to a waiter of this replica,
// webhooks first, or becomes a spare one.
func (b *Budget) Return() {
	b.returned.Add(1)
	b.queue.grant(permit{due: b.queue.now()})
}

// waitDue waits until a permit is due.
func (b *Budget) waitDue(ctx context.Context, p permit) error {
	if err := wait(ctx, p.due.Sub(b.queue.now())); err != nil {
		b.queue.grant(p)
		return b.noPermit(err)
	}
	b.taken.Add(1)
	return nil
}

// ask takes permits for all waiters of w's kind until w has one. It fails only when the context has
// ended, with the last error of the ledger or the context's.
func (b *Budget) ask(ctx context.Context, w *waiter) (permit, error) {
	const first, last = 50 * time.Millisecond, time.Second
	backoff := first
	for {
		pause, err := b.reserve(ctx, w.kind)
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
			return permit{}, cmp.Or(err, ctx.Err())
		}
	}
}

// reserve takes a permit for each waiter of a kind, as far as the bucket allows, or returns how
// long to wait before asking again.
func (b *Budget) reserve(ctx context.Context, kind stripeapi.Kind) (pause time.Duration, err error) {
	rule := b.ledger.rule
	before, c, err := b.ledger.edit(ctx, func(now bucket) (change, bool) {
		wanted := b.queue.waiting(kind)
		if wanted == 0 {
			return change{}, false
		}
		n, w := rule.allot(now, wanted, kind)
		// Replicas that wait for the same permit should not all ask at once.
		pause = w + rand.N(w/2+time.Millisecond)
		if n == 0 {
			return change{}, true
		}
		return change{take: n, kind: kind}, n < wanted || now.left() < float64(n)
	})
	b.ledger.logReach(ctx, err)
	if err != nil || c.take == 0 {
		return pause, err
	}
	now := b.queue.now()
	permits := make([]permit, c.take)
	for i := range permits {
		permits[i] = permit{due: now.Add(rule.due(before, i+1)), kind: kind}
	}
	b.queue.grant(permits...)
	return 0, nil
}

// Throttled halves the fleet's rate, down to a tenth and at least 1 request/s, because Stripe
// answered 429. It does nothing if any replica did so within 500 ms. The rate is full again 20 s
// later. It fails if the KV bucket is out of reach.
func (b *Budget) Throttled(ctx context.Context) error {
	_, c, err := b.ledger.edit(ctx, func(now bucket) (change, bool) {
		if now.Since < halveEvery.Seconds() {
			return change{}, true
		}
		return change{halve: true}, false
	})
	if err != nil {
		return fmt.Errorf("halve the rate of %s: %w", b.ledger.key, err)
	}
	if c.halve {
		u := b.Usage()
		b.ledger.log.Warn("Stripe throttles: the fleet's request rate is halved", "rate", u.Rate, "full", u.Full)
	}
	return nil
}

// Usage is for metrics.
func (b *Budget) Usage() Usage {
	last, rate, counts := b.ledger.seen()
	u := Usage{
		Rate: rate, Full: float64(b.ledger.rule), Permits: last.left(),
		Taken: b.taken.Load(), Returned: b.returned.Load(),
		Halved: counts.halved, Writes: counts.writes, Conflicts: counts.conflicts,
	}
	for _, k := range kinds {
		u.Waiting[k] = b.queue.waiting(k)
	}
	return u
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
