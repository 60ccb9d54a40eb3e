package repair

import (
	"context"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/streams"
)

// restored returns the entry of stripe_state that holds when the restored backup was begun.
func restored(state streams.KV) streams.Entry[restoredEntry] {
	return streams.Entry[restoredEntry]{KV: state, Key: "restored"}
}

type restoredEntry struct {
	Backup time.Time `json:"backup"`
}

// SetRestored stores that NATS was restored from a backup begun at an instant. The log may lack
// later events, so the first run of a [Recovery] for each account begins three days before that
// instant, and not three days before the newest event.
func SetRestored(ctx context.Context, state jetstream.KeyValue, backup time.Time) error {
	return restored(state).Put(ctx, restoredEntry{backup.UTC()})
}

// restoredAt returns when the restored backup was begun, in unix seconds; the largest number if
// there was no restore.
func restoredAt(ctx context.Context, state streams.KV) (int64, error) {
	v, err := restored(state).Get(ctx)
	if err != nil || !v.OK {
		return math.MaxInt64, err
	}
	return v.V.Backup.Unix(), nil
}
