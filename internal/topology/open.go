package topology

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoPipeline means that a stream or bucket does not exist, because no ingest and no syncer has
// run on this NATS yet.
var ErrNoPipeline = errors.New("no pipeline here")

// OpenStream binds a stream. It returns [ErrNoPipeline] if the stream does not exist.
func OpenStream(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: there is no stream %s", ErrNoPipeline, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", name, err)
	}
	return stream, nil
}

// OpenBucket binds a bucket. It returns [ErrNoPipeline] if the bucket does not exist.
func OpenBucket(ctx context.Context, js jetstream.JetStream, name string) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: there is no bucket %s", ErrNoPipeline, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	return kv, nil
}
