package topology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// afterRecords is the sequence with which a new STRIPE_EVENTS begins, so that no record of a sync claims to cover an event
// that comes later: one more than the greatest events_seq among the latest records of the customers. 1 without records.
func (c client) afterRecords(ctx context.Context) (uint64, error) {
	s, err := c.js.Stream(ctx, SyncedStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	cons, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: "stripe.synced.>",
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return 0, err
	}
	defer s.DeleteConsumer(context.WithoutCancel(ctx), cons.CachedInfo().Name) //nolint:errcheck // it goes by itself after a while
	const atOnce = 1000
	var greatest uint64
	for left := cons.CachedInfo().NumPending; left > 0; {
		batch, err := cons.Fetch(int(min(left, atOnce)), jetstream.FetchContext(ctx))
		if err != nil {
			return 0, err
		}
		for msg := range batch.Messages() {
			var record struct {
				EventsSeq uint64 `json:"events_seq"`
			}
			// A record that does not decode counts as none, as it does for coverage.
			if json.Unmarshal(msg.Data(), &record) == nil {
				greatest = max(greatest, record.EventsSeq)
			}
			left--
		}
		if err := batch.Error(); err != nil {
			return 0, err
		}
	}
	return greatest + 1, nil
}

// begin has STRIPE_EVENTS, which is missing, begin after what the records refer to.
func (s *stream) begin(ctx context.Context, c client) error {
	if s.config.Name != EventsStream {
		return nil
	}
	seq, err := c.afterRecords(ctx)
	if err != nil {
		return fmt.Errorf("read the records of %s: %w", SyncedStream, err)
	}
	if seq > 1 {
		s.config.FirstSeq = seq
	}
	return nil
}
