package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/store"
	"entitled/internal/streams"
)

// An abandoned checkpoint has had no page added for so long that no backfill may resume it.
type abandoned struct {
	key      string // the plan's
	revision uint64 // the plan's, 0 if it is gone
	pages    []string
	newest   time.Time
}

// DropAbandoned removes the abandoned checkpoints of a mode: nothing else does, and they hold
// customers' data.
func DropAbandoned(ctx context.Context, s *store.Store, mode entitlement.Mode, now time.Time) error {
	all, err := checkpoints(ctx, s, mode)
	if err != nil {
		return err
	}
	for _, a := range all {
		if now.Sub(a.newest) <= resumeWithin {
			continue
		}
		if err := drop(ctx, s, a); err != nil {
			return fmt.Errorf("remove the checkpoint %s: %w", a.key, err)
		}
	}
	return nil
}

// checkpoints returns those of a mode, of all accounts, also those of which only pages are left.
func checkpoints(ctx context.Context, s *store.Store, mode entitlement.Mode) (map[string]*abandoned, error) {
	plans := "*." + string(mode)
	found := make(map[string]*abandoned)
	for item, err := range streams.Keys(ctx, s.JS, s.State.Bucket(), plans, plans+anyPage) {
		if err != nil {
			return nil, fmt.Errorf("read the checkpoints: %w", err)
		}
		parts := strings.SplitN(item.Key, ".", 3)
		if parts[0] != "backfill" && !strings.HasPrefix(parts[0], "backfill-") {
			continue // other state of the mode
		}
		key := parts[0] + "." + parts[1]
		a := found[key]
		if a == nil {
			a = &abandoned{key: key}
			found[key] = a
		}
		if item.Key == key {
			a.revision = item.Revision
		} else {
			a.pages = append(a.pages, item.Key)
		}
		if item.Stored.After(a.newest) {
			a.newest = item.Stored
		}
	}
	return found, nil
}

// drop removes the plan first: a backfill that resumes it meanwhile keeps it, and its pages. The
// pages' keys stay, empty, until the account's next backfill is done, because a syncer may not
// purge this stream.
func drop(ctx context.Context, s *store.Store, a *abandoned) error {
	if a.revision != 0 {
		err := s.State.Delete(ctx, a.key, jetstream.LastRevision(a.revision))
		if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	for _, page := range a.pages {
		if err := s.State.Purge(ctx, page); err != nil {
			return err
		}
	}
	return nil
}
