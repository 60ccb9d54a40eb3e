package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Fence is the state of NATS before the first page of a sweep is requested. A sweep writes only
// over revisions that are not newer.
type Fence struct {
	// Bucket is when the bucket was created, Revision its last revision. A bucket that was
	// recreated counts revisions from 1 again.
	Bucket   time.Time `json:"bucket"`
	Revision uint64    `json:"revision"`
	// EventsSeq is the end of STRIPE_EVENTS.
	EventsSeq uint64 `json:"events_seq"`
}

// ReadFence reads the bucket first, then the end of the log. Each sync that wrote up to Revision
// read the end of the log earlier, so EventsSeq is never behind that of a record.
func (s *Store) ReadFence(ctx context.Context) (Fence, error) {
	stream, err := s.JS.Stream(ctx, s.BucketStream())
	if err != nil {
		return Fence{}, fmt.Errorf("read the last revision of %s: %w", s.Bucket.Bucket(), err)
	}
	info := stream.CachedInfo()
	seq, err := s.LastEvent(ctx)
	if err != nil {
		return Fence{}, fmt.Errorf("read the end of the event log: %w", err)
	}
	return Fence{Bucket: info.Created, Revision: info.State.LastSeq, EventsSeq: seq}, nil
}

// Still fails if the bucket was recreated since the fence was read: entries read before are then
// useless.
func (f Fence) Still(ctx context.Context, s *Store) error {
	stream, err := s.JS.Stream(ctx, s.BucketStream())
	if err != nil {
		return fmt.Errorf("read the last revision of %s: %w", s.Bucket.Bucket(), err)
	}
	if info := stream.CachedInfo(); !info.Created.Equal(f.Bucket) || info.State.LastSeq < f.Revision {
		return fmt.Errorf("bucket %s: %w: start again", s.Bucket.Bucket(), ErrRecreated)
	}
	return nil
}

// ErrRecreated says that a stream or bucket was recreated, or has lost its end, so that sequences
// read before mean nothing.
var ErrRecreated = errors.New("it was recreated meanwhile")
