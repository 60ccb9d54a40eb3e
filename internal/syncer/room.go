package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// conditionStore holds unless NATS refuses, or does not acknowledge, what the syncer writes.
const conditionStore = "store"

const (
	// refusedFor is how long a refusal stands although other writes succeed: one stream of a cluster may be full while the others are not.
	refusedFor = 5 * time.Second
	// silentAfter is how long NATS may take to acknowledge a write; it takes milliseconds.
	silentAfter = time.Second
)

// errSilent says that NATS has not acknowledged a write. One server whose disk is full answers so, and is well in everything else.
var errSilent = errors.New("NATS does not acknowledge what is written (`entitled doctor` looks at the servers and their disks)")

// A storage notices how NATS answers writes. A store that is full keeps every sync from its end, the first step of which is a write too, so
// nothing but the answer to a write tells. It tells only at first: a cluster whose stores are full soon has streams without a leader, which do not
// answer at all.
type storage struct {
	ready func(condition string, err error)
	now   func() time.Time
	// trouble is why the last write that says something of NATS was not stored, nil if it was.
	trouble atomic.Pointer[trouble]
}

type trouble struct {
	err error
	at  time.Time
}

// took notices the answer to a write and returns it, by its name if it is that NATS has no room.
func (s *storage) took(err error) error {
	err = topology.NameNoRoom(err)
	last := s.trouble.Load()
	full := last != nil && topology.IsNoRoom(last.err)
	switch {
	case topology.IsNoRoom(err), errors.Is(err, errSilent) && !full:
		s.trouble.Store(&trouble{err, s.now()})
		s.ready(conditionStore, err)
	case err == nil && last != nil && (!full || s.now().Sub(last.at) > refusedFor) && s.trouble.CompareAndSwap(last, nil):
		s.ready(conditionStore, nil)
	}
	return err
}

// standing is the trouble that no write has ended since, nil if there is none.
func (s *storage) standing() error {
	if t := s.trouble.Load(); t != nil {
		return t.err
	}
	return nil
}

// A publisher is JetStream with every publish noticed.
type publisher struct {
	jetstream.JetStream
	took func(error) error
}

// write notices the answer to do, which waits for an acknowledgement.
func (p publisher) write(do func() error) error {
	began := time.Now()
	err := do()
	if errors.Is(err, context.DeadlineExceeded) && time.Since(began) >= silentAfter {
		err = fmt.Errorf("%w: %w", errSilent, err)
	}
	return p.took(err)
}

func (p publisher) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (ack *jetstream.PubAck, err error) {
	err = p.write(func() error {
		ack, err = p.JetStream.Publish(ctx, subject, data, opts...)
		return err
	})
	return ack, err
}

func (p publisher) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (ack *jetstream.PubAck, err error) {
	err = p.write(func() error {
		ack, err = p.JetStream.PublishMsg(ctx, m, opts...)
		return err
	})
	return ack, err
}

// Put, Create and Update of a bucket are noticed too.

func (kv *leaderKV) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = kv.js.write(func() error {
		revision, err = kv.KeyValue.Put(ctx, key, value)
		return err
	})
	return revision, err
}

func (kv *leaderKV) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (revision uint64, err error) {
	err = kv.js.write(func() error {
		revision, err = kv.KeyValue.Create(ctx, key, value, opts...)
		return err
	})
	return revision, err
}

func (kv *leaderKV) Update(ctx context.Context, key string, value []byte, revision uint64) (written uint64, err error) {
	err = kv.js.write(func() error {
		written, err = kv.KeyValue.Update(ctx, key, value, revision)
		return err
	})
	return written, err
}
