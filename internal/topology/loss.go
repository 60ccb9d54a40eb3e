package topology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/streams"
)

// afterRecords returns the first sequence for a new STRIPE_EVENTS: one more than the greatest
// events_seq in the customers' latest records, so that no record claims to cover a later event; 1
// without records.
func (c client) afterRecords(ctx context.Context) (uint64, error) {
	// A user that may not read the records may ask whether there are any.
	if _, err := c.js.Stream(ctx, SyncedStream); errors.Is(err, jetstream.ErrStreamNotFound) {
		return 1, nil
	} else if err != nil {
		return 0, err
	}
	var greatest uint64
	newest := streams.Reading{Stream: SyncedStream, Subjects: []string{"stripe.synced.>"}, Newest: true}
	for msg, err := range streams.Messages(ctx, c.js, newest) {
		if err != nil {
			return 0, err
		}
		var record struct {
			EventsSeq uint64 `json:"events_seq"`
		}
		// A record that cannot be decoded counts as none, as in coverage.
		if json.Unmarshal(msg.Data, &record) == nil {
			greatest = max(greatest, record.EventsSeq)
		}
	}
	return greatest + 1, nil
}

// begin sets the first sequence of the missing STRIPE_EVENTS, after all that the records refer to.
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
