package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// operationTimeout bounds one operation on the bucket.
const operationTimeout = 2 * time.Second

// edit changes the bucket by compare-and-set. decide sees the bucket as it is now, or with fewer places, since the server's
// time is known by a lower bound only; it returns the change, and whether more places (or more time gone by) could make it
// a better one. edit returns the bucket before the change and the change made.
func (b *Budget) edit(ctx context.Context, decide func(bucket) (change, bool)) (bucket, change, error) {
	for lost := 0; ; {
		start := b.now()
		e, stored, err := b.load(ctx)
		if err != nil {
			return bucket{}, change{}, err
		}
		if e == nil {
			continue
		}
		now, tight := b.current(e, stored)
		c, short := decide(now)
		switch {
		case short && !tight:
			// Change nothing, to learn the server's time from reading it back.
			c = change{}
		case c == change{}:
			b.saw(now)
			return now, c, nil
		}
		won, err := b.replace(ctx, e, stored, c)
		if err != nil {
			return bucket{}, change{}, err
		}
		if !won {
			// Whoever loses is one of many at it: spread over a time in which each could have had its turn.
			lost = min(lost+1, 10)
			if err := wait(ctx, rand.N(time.Duration(lost)*max(b.now().Sub(start), time.Millisecond))); err != nil {
				return bucket{}, change{}, err
			}
			continue
		}
		if short && !tight {
			continue
		}
		b.saw(b.rule.apply(now, c))
		return now, c, nil
	}
}

// load reads the bucket as it was when it was stored. Where there is none it puts an empty one, and returns a nil e.
func (b *Budget) load(ctx context.Context) (e jetstream.KeyValueEntry, stored bucket, err error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	e, err = b.kv.Get(ctx, b.key)
	missing := errors.Is(err, jetstream.ErrKeyNotFound)
	if err != nil && !missing {
		return nil, bucket{}, fmt.Errorf("get %s: %w", b.key, err)
	}
	if !missing {
		stored, ok := b.rule.read(e)
		if ok {
			return e, stored, nil
		}
		b.log.Warn("Stripe budget: value is not a bucket, starting with an empty one", "key", b.key, "revision", e.Revision())
	}
	fresh, sent := write(nil, b.rule.empty(), change{}), b.now()
	var revision uint64
	if missing {
		revision, err = b.kv.Create(ctx, b.key, fresh)
	} else {
		revision, err = b.kv.Update(ctx, b.key, fresh, e.Revision())
	}
	switch {
	case err == nil:
		b.wrote(revision, sent)
	case !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return nil, bucket{}, fmt.Errorf("start %s: %w", b.key, err)
	}
	return nil, bucket{}, nil
}

// current is the bucket now, and whether that is as good as can be known.
func (b *Budget) current(e jetstream.KeyValueEntry, stored bucket) (now bucket, tight bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	local := b.now()
	b.clock.observe(e, local)
	return b.rule.after(stored, b.clock.now(local).Sub(e.Created())), b.clock.tight(local)
}

// replace is the compare-and-set. It reports whether it won.
func (b *Budget) replace(ctx context.Context, e jetstream.KeyValueEntry, stored bucket, c change) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	sent := b.now()
	revision, err := b.kv.Update(ctx, b.key, write(e, stored, c), e.Revision())
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.usage.Conflicts++
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("update %s: %w", b.key, err)
	}
	b.wrote(revision, sent)
	if c.halve {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.usage.Halved++
	}
	return true, nil
}

func (b *Budget) wrote(revision uint64, sent time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Writes++
	b.clock.wrote(revision, sent, b.now())
}

func (b *Budget) saw(now bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.lastAt = now, b.now()
}
