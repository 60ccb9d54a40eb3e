package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
)

// An abandoned checkpoint is one to which nothing was added for so long that it cannot be taken up again.
type abandoned struct {
	key      string // of its plan
	revision uint64 // the plan's, 0 where there is none any more
	pages    []string
	newest   time.Time
}

// dropAbandoned takes away the checkpoints of a mode that are abandoned: nobody else would, and they are full of customers.
func (s *store) dropAbandoned(ctx context.Context, mode entitlement.Mode, now time.Time) error {
	all, err := s.checkpoints(ctx, mode)
	if err != nil {
		return err
	}
	for _, a := range all {
		if now.Sub(a.newest) <= resumeWithin {
			continue
		}
		if err := s.drop(ctx, a); err != nil {
			return fmt.Errorf("remove the checkpoint %s: %w", a.key, err)
		}
	}
	return nil
}

// checkpoints are those of a mode, of all accounts, also of those of which only pages are left.
func (s *store) checkpoints(ctx context.Context, mode entitlement.Mode) (map[string]*abandoned, error) {
	plans := "*." + string(mode)
	w, err := s.state.WatchFiltered(ctx, []string{plans, plans + anyPage}, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return nil, fmt.Errorf("read the checkpoints: %w", err)
	}
	defer w.Stop()
	found := make(map[string]*abandoned)
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("read the checkpoints: ended before its end")
			}
			if e == nil {
				return found, nil
			}
			parts := strings.SplitN(e.Key(), ".", 3)
			if parts[0] != "backfill" && !strings.HasPrefix(parts[0], "backfill-") {
				continue // other state of the mode
			}
			key := parts[0] + "." + parts[1]
			a := found[key]
			if a == nil {
				a = &abandoned{key: key}
				found[key] = a
			}
			if e.Key() == key {
				a.revision = e.Revision()
			} else {
				a.pages = append(a.pages, e.Key())
			}
			if e.Created().After(a.newest) {
				a.newest = e.Created()
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("read the checkpoints: %w", context.Cause(ctx))
		}
	}
}

// drop removes the plan first: who takes it up meanwhile keeps it, and its pages. Keys are left with nothing in them until the next backfill of the
// account is done: a syncer may not purge this stream.
func (s *store) drop(ctx context.Context, a *abandoned) error {
	if a.revision != 0 {
		err := s.state.Delete(ctx, a.key, jetstream.LastRevision(a.revision))
		if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	for _, page := range a.pages {
		if err := s.state.Purge(ctx, page); err != nil {
			return err
		}
	}
	return nil
}
