package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement/snapshot"
)

// A Standing is the fleet's budget as an observer sees it.
type Standing struct {
	// Rate is the requests/s that the fleet allows itself now, Full the configured ones.
	Rate, Full float64
	// Left are the permits that can be taken at once, at most Capacity.
	Left, Capacity float64
	// Taken counts the permits that were ever taken. It starts again at 0 with the entry.
	Taken uint64
}

// ReadStanding reads the budget of a mode from stripe_state, and takes nothing. now is the time of
// the NATS server. It returns false if no syncer has written the budget yet.
func ReadStanding(ctx context.Context, kv interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
}, mode snapshot.Mode, now time.Time) (Standing, bool, error) {
	key := "budget." + string(mode)
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Standing{}, false, nil
	}
	if err != nil {
		return Standing{}, false, fmt.Errorf("get %s: %w", key, err)
	}
	var v entry
	if json.Unmarshal(e.Value(), &v) != nil || v.Full <= 0 {
		return Standing{}, false, nil
	}
	r := rule(v.Full)
	b, ok := r.decode(e.Value(), e.Created())
	if !ok {
		return Standing{}, false, nil
	}
	b = r.after(b, now.Sub(e.Created()))
	return Standing{
		Rate: r.rate(b), Full: v.Full, Left: max(0, b.left()), Capacity: r.capacity(b), Taken: b.Total,
	}, true, nil
}
