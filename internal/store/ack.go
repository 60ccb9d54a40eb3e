package store

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/timing"
)

// Acked waits for a PubAck.
func (s *Store) Acked(ctx context.Context, f jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	late := time.NewTimer(timing.AckWithin)
	defer late.Stop()
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-late.C:
		return nil, fmt.Errorf("no PubAck within %s", timing.AckWithin)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
