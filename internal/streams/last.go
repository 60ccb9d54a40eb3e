package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A direct get that no server answers is made again.
const (
	unansweredTries = 50
	unansweredPause = 100 * time.Millisecond
)

// Last returns the newest message of a subject, nil if there is none.
func Last(ctx context.Context, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := answered(ctx, func() (*jetstream.RawStreamMsg, error) {
		return stream.GetLastMsgForSubject(ctx, subject)
	})
	return found(m, subject, err)
}

// First returns the first message of a subject from a sequence on, nil if there is none.
func First(ctx context.Context, stream jetstream.Stream, seq uint64, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := answered(ctx, func() (*jetstream.RawStreamMsg, error) {
		return stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
	})
	return found(m, subject, err)
}

// Get reads an entry of a bucket.
func Get(ctx context.Context, kv Getter, key string) (jetstream.KeyValueEntry, error) {
	return answered(ctx, func() (jetstream.KeyValueEntry, error) { return kv.Get(ctx, key) })
}

// A Getter is the part of [jetstream.KeyValue] that reads an entry.
type Getter interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
}

func found(m *jetstream.RawStreamMsg, subject string, err error) (*jetstream.RawStreamMsg, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	return m, nil
}

// answered calls get until a server answers. Replicas answer a direct get once they have subscribed
// to it. In a cluster there may be none for a moment, while a stream is new and after an election.
func answered[T any](ctx context.Context, get func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := get()
		if !errors.Is(err, nats.ErrNoResponders) || try == unansweredTries {
			return v, err
		}
		select {
		case <-time.After(unansweredPause):
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}
