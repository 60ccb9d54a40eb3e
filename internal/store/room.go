package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/timing"
	"entitled/internal/topology"
)

// ErrSilent says that NATS has not acknowledged a write. A single server whose disk is full does
// so, and answers everything else.
var ErrSilent = errors.New("NATS does not acknowledge writes (`entitled doctor` looks at the servers and their disks)")

// A Storage watches how NATS answers writes. If its store is full, no sync ends, and only the
// answer to a write shows it; and only at first, because a cluster whose stores are full soon has
// streams without a leader, which do not answer at all.
type Storage struct {
	ready func(error)
	// refused is how long a refusal counts although other writes succeed.
	refused time.Duration
	now     func() time.Time
	// trouble is why NATS did not store a write, nil if it stores them. Writes that fail for
	// another reason do not change it.
	trouble atomic.Pointer[trouble]
}

// NewStorage calls ready with the reason when NATS stops storing writes, and with nil when it
// stores them again.
func NewStorage(t timing.Timing, ready func(error)) *Storage {
	return &Storage{ready: ready, refused: t.Refused, now: time.Now}
}

type trouble struct {
	err error
	at  time.Time
}

// Took takes the answer to a write and returns it. If NATS has no room, the error says so.
func (s *Storage) Took(err error) error {
	err = topology.NameNoRoom(err)
	last := s.trouble.Load()
	full := last != nil && topology.IsNoRoom(last.err)
	switch {
	case topology.IsNoRoom(err), errors.Is(err, ErrSilent) && !full:
		s.trouble.Store(&trouble{err, s.now()})
		s.ready(err)
	case err == nil && last != nil && (!full || s.now().Sub(last.at) > s.refused) &&
		s.trouble.CompareAndSwap(last, nil):
		s.ready(nil)
	}
	return err
}

// Standing returns why NATS does not store writes, nil if it does.
func (s *Storage) Standing() error {
	if t := s.trouble.Load(); t != nil {
		return t.err
	}
	return nil
}

// A Publisher is JetStream, and passes the answer of each publish to took.
type Publisher struct {
	jetstream.JetStream
	Took func(error) error
}

// write passes the answer of do, which waits for an acknowledgement, to took.
func (p Publisher) write(do func() error) error {
	began := time.Now()
	err := do()
	if errors.Is(err, context.DeadlineExceeded) && time.Since(began) >= timing.SilentAfter {
		err = fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return p.Took(err)
}

func (p Publisher) Publish(
	ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt,
) (ack *jetstream.PubAck, err error) {
	err = p.write(func() error {
		ack, err = p.JetStream.Publish(ctx, subject, data, opts...)
		return err
	})
	return ack, err
}

func (p Publisher) PublishMsg(
	ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt,
) (ack *jetstream.PubAck, err error) {
	err = p.write(func() error {
		ack, err = p.JetStream.PublishMsg(ctx, m, opts...)
		return err
	})
	return ack, err
}

// The answers of Put, Create and Update of a bucket go to took as well.

func (kv *KV) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = kv.js.write(func() error {
		revision, err = kv.KeyValue.Put(ctx, key, value)
		return err
	})
	return revision, err
}

func (kv *KV) Create(
	ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt,
) (revision uint64, err error) {
	err = kv.js.write(func() error {
		revision, err = kv.KeyValue.Create(ctx, key, value, opts...)
		return err
	})
	return revision, err
}

func (kv *KV) Update(ctx context.Context, key string, value []byte, revision uint64) (written uint64, err error) {
	err = kv.js.write(func() error {
		written, err = kv.KeyValue.Update(ctx, key, value, revision)
		return err
	})
	return written, err
}
