package budget

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fakeKV is one key of a KV bucket with the server's semantics: revisions rise, Update compares,
// entries carry the server's time of storing. It fails the test on a call that the real one would
// refuse.
type fakeKV struct {
	t *testing.T
	// latency is one way; skew is the server's clock against the bubble's.
	latency time.Duration

	mu       sync.Mutex
	skew     time.Duration
	value    []byte
	created  time.Time
	revision uint64
	fault    func(op string) fault
	gets     int
	puts     int // writes that were applied
	lost     int // compare-and-sets that lost
}

type fault int

const (
	none           fault = iota
	failNotApplied       // an error, and nothing happened
	failApplied          // an error, and yet it happened
)

var errFake = errors.New("nats: timeout")

type fakeEntry struct {
	jetstream.KeyValueEntry // nil: a method not faked panics
	value                   []byte
	created                 time.Time
	revision                uint64
}

func (e fakeEntry) Value() []byte      { return e.value }
func (e fakeEntry) Created() time.Time { return e.created }
func (e fakeEntry) Revision() uint64   { return e.revision }

func (k *fakeKV) travel(ctx context.Context) error {
	if err := ctx.Err(); err != nil || k.latency == 0 {
		return err
	}
	return wait(ctx, k.latency/2+rand.N(k.latency))
}

// do runs an operation on the server.
func (k *fakeKV) do(ctx context.Context, op, key string, apply func() error) error {
	if key != "budget.live" && key != "budget.test" {
		k.t.Errorf("%s of key %q", op, key)
	}
	if err := k.travel(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	f := none
	if k.fault != nil {
		f = k.fault(op)
	}
	err := errFake
	if f != failNotApplied {
		err = apply()
	}
	k.mu.Unlock()
	if err := k.travel(ctx); err != nil {
		return err
	}
	if f != none {
		return errFake
	}
	return err
}

func (k *fakeKV) Get(ctx context.Context, key string) (e jetstream.KeyValueEntry, err error) {
	err = k.do(ctx, "get", key, func() error {
		k.gets++
		if k.value == nil {
			return jetstream.ErrKeyNotFound
		}
		e = fakeEntry{value: bytes.Clone(k.value), created: k.created, revision: k.revision}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (k *fakeKV) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	if len(opts) > 0 {
		k.t.Error("Create with options")
	}
	return k.write(ctx, "create", key, value, func() error {
		if k.value != nil {
			return jetstream.ErrKeyExists
		}
		return nil
	})
}

func (k *fakeKV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		k.t.Error("Update of revision 0")
	}
	return k.write(ctx, "update", key, value, func() error {
		if k.value == nil || revision != k.revision {
			return jetstream.ErrKeyRevisionMismatch
		}
		return nil
	})
}

func (k *fakeKV) write(ctx context.Context, op, key string, value []byte, refuse func() error) (revision uint64,
	err error) {
	err = k.do(ctx, op, key, func() error {
		if err := refuse(); err != nil {
			k.lost++
			return err
		}
		k.put(value)
		revision = k.revision
		return nil
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// put stores a value; k.mu is held.
func (k *fakeKV) put(value []byte) {
	k.revision++
	k.puts++
	k.value, k.created = bytes.Clone(value), time.Now().Add(k.skew)
}

func (k *fakeKV) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}
