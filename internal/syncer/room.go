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

// refusedFor is how long a refusal stands unless there is another: one stream of a cluster may be full while the others are not.
const refusedFor = 5 * time.Second

// A storage notices how NATS answers writes. A store that is full keeps every sync from its end, the first step of which is a write too, so
// nothing but the answer to a write tells.
type storage struct {
	ready func(condition string, err error)
	now   func() time.Time
	// refused is when NATS last refused a write for want of room, in nanoseconds of Unix time; 0 if the condition holds.
	refused atomic.Int64
}

// took notices the answer to a write and returns it, by its name if it is that NATS has no room.
func (s *storage) took(err error) error {
	err = topology.NameNoRoom(err)
	switch {
	case topology.IsNoRoom(err):
		s.refused.Store(s.now().UnixNano())
		s.ready(conditionStore, err)
	case err == nil:
		s.settle()
	}
	return err
}

// settle ends a refusal that nothing has repeated.
func (s *storage) settle() {
	at := s.refused.Load()
	if at != 0 && s.now().Sub(time.Unix(0, at)) > refusedFor && s.refused.CompareAndSwap(at, 0) {
		s.ready(conditionStore, nil)
	}
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
