package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

const (
	// readAhead bounds the entries of a bucket that are held at a time. A watch has no such bound: what the
	// server sends ahead of it is 32 MB, and more waits in nats.go.
	readAhead = 256
	// readerGone is how long the server keeps the place of a reader that has not asked for more.
	readerGone = 5 * time.Minute
	// comeWithin is how long entries and messages that are known to be left may take to come.
	comeWithin = 5 * time.Second
)

// everybody are the keys of all customers, connected those of customers of connected accounts.
const (
	everybody = ">"
	connected = "*.*"
)

// keysOf are the keys of an account's customers.
func keysOf(account string) string {
	if account == "" {
		return "*"
	}
	return entitlement.Key("", account) + ".*"
}

// connectedAccounts are those that have a snapshot, sorted.
func (s *store) connectedAccounts(ctx context.Context, mode entitlement.Mode) ([]string, error) {
	var mu sync.Mutex
	found := make(map[string]struct{})
	err := s.eachSnapshot(ctx, mode, connected, func(_ context.Context, c stripeevent.Customer, _ []byte, _ uint64) error {
		mu.Lock()
		defer mu.Unlock()
		found[c.Account] = struct{}{}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// eachSnapshot streams what the bucket has under keys past do, several entries side by side, and holds few of it. It ends when it has
// caught up, or with an error: never early.
func (s *store) eachSnapshot(ctx context.Context, mode entitlement.Mode, keys string, do func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error) error {
	stream, prefix := "KV_"+s.bucket.Bucket(), "$KV."+s.bucket.Bucket()+"."
	failed := func(err error) error { return fmt.Errorf("read the bucket %s: %w", s.bucket.Bucket(), err) }
	cons, err := s.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		FilterSubject: prefix + keys, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: readerGone,
	})
	if err != nil {
		return failed(err)
	}
	defer func() { _ = s.js.DeleteConsumer(ctx, stream, cons.CachedInfo().Name) }() // readerGone ends it too
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	err = func() error {
		var last uint64
		for left := cons.CachedInfo().NumPending; left > 0; {
			msgs, err := fetch(gctx, cons, int(min(left, readAhead)), comeWithin)
			if err != nil {
				return failed(err)
			}
			for _, msg := range msgs {
				meta, err := msg.Metadata()
				if err != nil {
					return failed(err)
				}
				if meta.Sequence.Consumer != last+1 {
					return failed(fmt.Errorf("entry %d came after %d", meta.Sequence.Consumer, last))
				}
				last, left = meta.Sequence.Consumer, meta.NumPending
				account, id, err := entitlement.ParseKey(msg.Subject()[len(prefix):])
				if err != nil || takenAway(msg.Headers()) {
					continue // not a customer's, or one's no more
				}
				c := stripeevent.Customer{Mode: mode, Account: account, ID: id}
				g.Go(func() error { return do(gctx, c, msg.Data(), meta.Sequence.Stream) })
			}
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			if len(msgs) == 0 {
				return failed(fmt.Errorf("nothing comes, and %d entries are left", left))
			}
		}
		return nil
	}()
	if done := g.Wait(); done != nil {
		return done
	}
	return err
}

// takenAway reports whether a message of a bucket says that its key has no entry any more.
func takenAway(h nats.Header) bool {
	return h.Get(operationHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

// failingKeys are the keys of the customers of a mode whose last sync failed, the parked ones among them.
func (s *store) failingKeys(ctx context.Context, mode entitlement.Mode) (map[string]struct{}, error) {
	w, err := s.state.Watch(ctx, "parked."+string(mode)+".>", jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return nil, fmt.Errorf("read the failing customers: %w", err)
	}
	defer w.Stop()
	keys := make(map[string]struct{})
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("read the failing customers: ended before its end")
			}
			if e == nil {
				return keys, nil
			}
			keys[e.Key()] = struct{}{}
		case <-ctx.Done():
			return nil, fmt.Errorf("read the failing customers: %w", context.Cause(ctx))
		}
	}
}
