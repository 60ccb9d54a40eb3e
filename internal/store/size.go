package store

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/reduce"
)

// recordRoom is how many bytes of a record's message are left for everything but the snapshot: the
// changed paths, the request ids, the other fields and the headers.
const recordRoom = 64 << 10

// Room returns how many bytes a snapshot may have, so that NATS takes its record too.
func (s *Store) Room() int { return int(s.JS.Conn().MaxPayload()) - recordRoom }

// codeTooLarge is the server's error code for a message over its stream's max_msg_size.
const codeTooLarge jetstream.ErrorCode = 10054

// Sized wraps the error of a publish to a stream in [reduce.ErrTooLarge], with the remedy, if the
// message was too large.
func Sized(err error, stream string) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w: raise max_payload in nats.conf", reduce.ErrTooLarge, err)
	case ok && api.ErrorCode == codeTooLarge:
		return fmt.Errorf("%w: %w: run `entitled topology apply`, which removes the max_msg_size of %s",
			reduce.ErrTooLarge, err, stream)
	}
	return err
}

// BucketStream returns the name of the stream behind the bucket of the snapshots.
func (s *Store) BucketStream() string { return "KV_" + s.Bucket.Bucket() }
