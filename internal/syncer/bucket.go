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
		case e := <-w.Updates():
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
