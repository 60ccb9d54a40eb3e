package syncer

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// conditionStore holds unless NATS has no room for what the syncer writes.
const conditionStore = "store"

// refusedFor is how long a refusal stands although other writes succeed: one stream of a cluster may be full while the others are not.
const refusedFor = 5 * time.Second

// A storage notices how NATS answers writes. A store that is full keeps every sync from its end, the first step of which is a write too, so
// nothing but the answer to a write tells. It tells only at first: a cluster whose stores are full soon has streams without a leader, which do not
// answer at all.
type storage struct {
	ready func(condition string, err error)
	now   func() time.Time
	// refused is the last refusal for want of room, nil if none stands.
	refused atomic.Pointer[noRoom]
}

type noRoom struct {
	err error
	at  time.Time
}

// took notices the answer to a write and returns it, by its name if it is that NATS has no room.
func (s *storage) took(err error) error {
	err = topology.NameNoRoom(err)
	last := s.refused.Load()
	switch {
	case topology.IsNoRoom(err):
		s.refused.Store(&noRoom{err, s.now()})
		s.ready(conditionStore, err)
	case err == nil && last != nil && s.now().Sub(last.at) > refusedFor && s.refused.CompareAndSwap(last, nil):
		s.ready(conditionStore, nil)
	}
	return err
}

// standing is the refusal that no write has ended since, nil if there is none.
func (s *storage) standing() error {
	if r := s.refused.Load(); r != nil {
		return r.err
	}
	return nil
}

// A publisher is JetStream with every publish noticed.
type publisher struct {
	jetstream.JetStream
	took func(error) error
}

func (p publisher) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := p.JetStream.Publish(ctx, subject, data, opts...)
	return ack, p.took(err)
}

func (p publisher) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := p.JetStream.PublishMsg(ctx, m, opts...)
	return ack, p.took(err)
}

// Put, Create and Update of a bucket are noticed too.

func (kv *leaderKV) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	revision, err := kv.KeyValue.Put(ctx, key, value)
	return revision, kv.js.took(err)
}

func (kv *leaderKV) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	revision, err := kv.KeyValue.Create(ctx, key, value, opts...)
	return revision, kv.js.took(err)
}

func (kv *leaderKV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	written, err := kv.KeyValue.Update(ctx, key, value, revision)
	return written, kv.js.took(err)
}
