package budget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// operationTimeout bounds one operation on the KV bucket.
const operationTimeout = 2 * time.Second

// KV is the part of a KV bucket (jetstream.KeyValue) that a [Budget] uses.
type KV interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// A ledger is the fleet's [bucket], kept in one key of stripe_state. Every replica changes it by
// compare-and-set, and computes with the server's time.
type ledger struct {
	kv   KV
	key  string
	rule rule
	log  *slog.Logger
	now  func() time.Time

	mu          sync.Mutex // held for moments, never during an operation
	clock       serverClock
	last        bucket    // as last seen
	lastAt      time.Time // local time of last
	unreachable bool      // an operation failed, and that was logged
	counts      ledgerCounts
}

// ledgerCounts are counts since the start: compare-and-sets won and lost, and halvings.
type ledgerCounts struct{ writes, conflicts, halved uint64 }

// edit changes the bucket by compare-and-set. decide gets the current bucket, possibly with fewer
// permits than it has, because the server's time is estimated from below. decide returns the
// change, and whether more permits or a later time could improve it. edit returns the bucket before
// the change, and the change.
func (l *ledger) edit(ctx context.Context, decide func(bucket) (change, bool)) (bucket, change, error) {
	for lost := 0; ; {
		start := l.now()
		e, stored, err := l.load(ctx)
		if err != nil {
			return bucket{}, change{}, err
		}
		if e == nil {
			continue
		}
		now, tight := l.current(e, stored)
		c, short := decide(now)
		switch {
		case short && !tight:
			// Write no change: reading the write back gives the server's time.
			c = change{}
		case c == change{}:
			l.saw(now)
			return now, c, nil
		}
		won, err := l.replace(ctx, e, stored, c)
		if err != nil {
			return bucket{}, change{}, err
		}
		if !won {
			// Many replicas write at the same time: spread them over as long as all of them take.
			lost = min(lost+1, 10)
			if err := wait(ctx, rand.N(time.Duration(lost)*max(l.now().Sub(start), time.Millisecond))); err != nil {
				return bucket{}, change{}, err
			}
			continue
		}
		if short && !tight {
			continue
		}
		l.saw(l.rule.apply(now, c))
		return now, c, nil
	}
}

// load reads the bucket as it was when it was stored. If there is none, it stores an empty one and
// returns a nil e.
func (l *ledger) load(ctx context.Context) (e jetstream.KeyValueEntry, stored bucket, err error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	e, err = l.kv.Get(ctx, l.key)
	missing := errors.Is(err, jetstream.ErrKeyNotFound)
	if err != nil && !missing {
		return nil, bucket{}, fmt.Errorf("get %s: %w", l.key, err)
	}
	if !missing {
		stored, ok := l.rule.decode(e.Value(), e.Created())
		if ok {
			return e, stored, nil
		}
		l.log.Warn("Stripe budget: value is not a bucket, starting with an empty one",
			"key", l.key, "revision", e.Revision())
	}
	fresh, sent := l.rule.encode(time.Time{}, l.rule.empty(), change{}), l.now()
	var revision uint64
	if missing {
		revision, err = l.kv.Create(ctx, l.key, fresh)
	} else {
		revision, err = l.kv.Update(ctx, l.key, fresh, e.Revision())
	}
	switch {
	case err == nil:
		l.wrote(revision, sent, change{})
	case !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return nil, bucket{}, fmt.Errorf("start %s: %w", l.key, err)
	}
	return nil, bucket{}, nil
}

// current returns the bucket now. tight reports that the estimate of the server's time is tight.
func (l *ledger) current(e jetstream.KeyValueEntry, stored bucket) (now bucket, tight bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	local := l.now()
	l.clock.observe(e, local)
	return l.rule.after(stored, l.clock.now(local).Sub(e.Created())), l.clock.tight(local)
}

// replace is the compare-and-set. It reports whether it won.
func (l *ledger) replace(ctx context.Context, e jetstream.KeyValueEntry, stored bucket, c change) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	sent := l.now()
	revision, err := l.kv.Update(ctx, l.key, l.rule.encode(e.Created(), stored, c), e.Revision())
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.counts.conflicts++
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("update %s: %w", l.key, err)
	}
	l.wrote(revision, sent, c)
	return true, nil
}

func (l *ledger) wrote(revision uint64, sent time.Time, c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.writes++
	if c.halve {
		l.counts.halved++
	}
	l.clock.wrote(revision, sent, l.now())
}

func (l *ledger) saw(now bucket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.lastAt = now, l.now()
}

// seen returns the bucket as last seen, the rate now, and the counts.
func (l *ledger) seen() (last bucket, rate float64, counts ledgerCounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.rule.rate(l.rule.after(l.last, l.now().Sub(l.lastAt))), l.counts
}

// logReach logs the first of several failures to reach the bucket, and the first success after
// them.
func (l *ledger) logReach(ctx context.Context, err error) {
	l.mu.Lock()
	before := l.unreachable
	// If the context has ended, an error says nothing about the bucket.
	now := err != nil && (before || ctx.Err() == nil)
	l.unreachable = now
	l.mu.Unlock()
	switch {
	case now && !before:
		l.log.Warn("Stripe budget out of reach: no requests until it is back", "key", l.key, "err", err)
	case before && !now:
		l.log.Info("Stripe budget is back", "key", l.key)
	}
}
