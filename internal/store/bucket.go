package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
)

// ParallelReads bounds the concurrent reads of one job.
const ParallelReads = 8

// Everyone matches the keys of all customers, connected those of customers of connected accounts.
const (
	Everyone  = ">"
	connected = "*.*"
)

// KeysOf returns a pattern that matches the keys of an account's customers.
func KeysOf(account string) string {
	if account == "" {
		return "*"
	}
	return entitlement.Key("", account) + ".*"
}

// ConnectedAccounts returns the connected accounts that have a snapshot, sorted.
func (s *Store) ConnectedAccounts(ctx context.Context, mode entitlement.Mode) ([]string, error) {
	var mu sync.Mutex
	found := make(map[string]struct{})
	err := s.EachSnapshot(ctx, mode, connected,
		func(_ context.Context, c stripeevent.Customer, _ []byte, _ uint64) error {
			mu.Lock()
			defer mu.Unlock()
			found[c.Account] = struct{}{}
			return nil
		})
	return slices.Sorted(maps.Keys(found)), err
}

// EachSnapshot calls do, concurrently, for each entry of the bucket whose key matches keys. It
// returns after the last entry, or with an error.
func (s *Store) EachSnapshot(
	ctx context.Context, mode entitlement.Mode, keys string,
	do func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error,
) error {
	return s.EachSnapshotBy(ctx, mode, keys, ParallelReads, do)
}

// EachSnapshotBy is [Store.EachSnapshot] with at most so many calls at once.
func (s *Store) EachSnapshotBy(
	ctx context.Context, mode entitlement.Mode, keys string, parallel int,
	do func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error,
) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	var failed error
	for item, err := range streams.Items(gctx, s.JS, s.Bucket.Bucket(), keys) {
		if err != nil {
			failed = err
			break
		}
		account, id, err := entitlement.ParseKey(item.Key)
		if err != nil {
			continue // not a customer's
		}
		c := stripeevent.Customer{Mode: mode, Account: account, ID: id}
		g.Go(func() error { return do(gctx, c, item.Value, item.Revision) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return failed
}

// FailingKeys returns the failure keys of the customers of a mode whose last sync failed, with the
// parked ones.
func (s *Store) FailingKeys(ctx context.Context, mode entitlement.Mode) (map[string]struct{}, error) {
	keys := make(map[string]struct{})
	for item, err := range streams.Keys(ctx, s.JS, s.State.Bucket(), "parked."+string(mode)+".>") {
		if err != nil {
			return nil, fmt.Errorf("read the failing customers: %w", err)
		}
		keys[item.Key] = struct{}{}
	}
	return keys, nil
}
