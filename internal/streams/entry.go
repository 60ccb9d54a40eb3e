package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrConflict says that an entry has another revision than the one that was to be replaced.
var ErrConflict = errors.New("another writer was first")

// A KV is the part of [jetstream.KeyValue] that an [Entry] uses.
type KV interface {
	Getter
	Put(ctx context.Context, key string, value []byte) (uint64, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error
}

// An Entry is a value under one key of a bucket, as JSON.
type Entry[T any] struct {
	KV  KV
	Key string
}

// A Value is an entry as it was read.
type Value[T any] struct {
	V T
	// Revision is 0 if there is no entry.
	Revision uint64
	// OK says that there is an entry and that it decodes. V is the zero value otherwise.
	OK bool
}

// Get reads the entry. An entry that is absent or does not decode is no error.
func (e Entry[T]) Get(ctx context.Context) (Value[T], error) {
	got, err := Get(ctx, e.KV, e.Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Value[T]{}, nil
	}
	if err != nil {
		return Value[T]{}, fmt.Errorf("read entry %s: %w", e.Key, err)
	}
	v := Value[T]{Revision: got.Revision()}
	if v.OK = json.Unmarshal(got.Value(), &v.V) == nil; !v.OK {
		v.V = *new(T)
	}
	return v, nil
}

// Set writes the entry if it still has the given revision, 0 for none, and returns the new
// revision, or [ErrConflict].
func (e Entry[T]) Set(ctx context.Context, v T, revision uint64) (written uint64, err error) {
	b, err := json.Marshal(v)
	switch {
	case err != nil:
	case revision == 0:
		written, err = e.KV.Create(ctx, e.Key, b)
	default:
		written, err = e.KV.Update(ctx, e.Key, b, revision)
	}
	return written, e.failed("write", err)
}

// Advance is [Entry.Set], except that a conflict is no error: the other writer's value stays.
func (e Entry[T]) Advance(ctx context.Context, v T, revision uint64) error {
	if _, err := e.Set(ctx, v, revision); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}

// Put writes the entry over any revision.
func (e Entry[T]) Put(ctx context.Context, v T) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = e.KV.Put(ctx, e.Key, b)
	}
	return e.failed("write", err)
}

// Delete removes the entry if it still has the given revision; [ErrConflict] if not.
func (e Entry[T]) Delete(ctx context.Context, revision uint64) error {
	return e.failed("remove", e.KV.Delete(ctx, e.Key, jetstream.LastRevision(revision)))
}

func (e Entry[T]) failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = ErrConflict
	}
	return fmt.Errorf("%s entry %s: %w", what, e.Key, err)
}
