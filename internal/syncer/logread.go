package syncer

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// readLog calls do with each message of a stream that cfg chooses, the oldest first, up to the end that the stream had. It is
// read from a replica, which may lag: the last messages may be missing, none in between.
func (s *store) readLog(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig, do func(jetstream.Msg) error) error {
	// Without a bound nats.go tries for ever, past the end of ctx and of the connection. The job itself is tried again.
	cfg.MaxResetAttempts = 1
	cons, err := s.js.OrderedConsumer(ctx, stream, cfg)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	for {
		batch, err := cons.FetchNoWait(coverageChunk)
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		got := 0
		for msg := range batch.Messages() {
			got++
			if err == nil {
				err = do(msg)
			}
		}
		if err != nil {
			return err
		}
		if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		if got > 0 {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			continue
		}
		// A request that was lost looks like the end too.
		if info := cons.CachedInfo(); info != nil && info.NumPending > 0 {
			return fmt.Errorf("read %s: %d messages did not come", stream, info.NumPending)
		}
		return nil
	}
}
