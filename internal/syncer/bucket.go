package syncer

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// eachSnapshot streams the bucket past do, several entries side by side, and holds none of it. It ends with the entries
// that were there when it began.
func (s *store) eachSnapshot(ctx context.Context, mode entitlement.Mode, do func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error) error {
	w, err := s.bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("read the bucket %s: %w", s.bucket.Bucket(), err)
	}
	defer w.Stop()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.Join(g.Wait(), fmt.Errorf("read the bucket %s: ended before its end", s.bucket.Bucket()))
			}
			if e == nil {
				return g.Wait()
			}
			account, id, err := entitlement.ParseKey(e.Key())
			if err != nil {
				continue // not a customer's
			}
			c := stripeevent.Customer{Mode: mode, Account: account, ID: id}
			g.Go(func() error { return do(gctx, c, e.Value(), e.Revision()) })
		case <-gctx.Done():
			return errors.Join(g.Wait(), ctx.Err())
		}
	}
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
