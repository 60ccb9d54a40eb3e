// Package audit reads the pipeline's history: the events ([Log.Events]), what happened to one
// customer ([Log.Story]) and the resulting state ([Story.Standing]), and the parked customers
// ([Log.Parked]). It can mark customers again ([Log.Mark], [Log.Missing]).
//
// Call [Open], then one of these. A [Slice] selects a part of the log.
//
// The memory for reading a stream is bounded however long it is, and each method names its bound. A
// slice of one customer, account or type is read through a subject filter, so nothing else is read.
// The package prints nothing and syncs nothing: it marks customers in the bulk lane, and marking
// twice is harmless.
//
// Limit: the log has only what EVENTS_MAX_AGE keeps.
package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/topology"
)

// A Log reads the streams and buckets of one pipeline. It is safe for concurrent use.
type Log struct {
	js                   jetstream.JetStream
	events, sync, synced jetstream.Stream
	state                jetstream.KeyValue
}

// Open binds the streams and the bucket of failures. It returns [topology.ErrNoPipeline] if one is
// missing. The bucket of snapshots is bound when it is needed, because a mode without a syncer has
// none.
func Open(ctx context.Context, js jetstream.JetStream) (*Log, error) {
	l := &Log{js: js}
	for _, x := range []struct {
		to   *jetstream.Stream
		name string
	}{{&l.events, topology.EventsStream}, {&l.sync, topology.SyncStream}, {&l.synced, topology.SyncedStream}} {
		stream, err := topology.OpenStream(ctx, js, x.name)
		if err != nil {
			return nil, err
		}
		*x.to = stream
	}
	var err error
	l.state, err = topology.OpenBucket(ctx, js, topology.StateBucket)
	return l, err
}

// entitlements returns the bucket of a mode.
func (l *Log) entitlements(ctx context.Context, m entitlement.Mode) (jetstream.KeyValue, error) {
	return topology.OpenBucket(ctx, l.js, entitlement.Bucket(m))
}

// entry returns a bucket's entry, nil and 0 if there is none.
func entry(ctx context.Context, kv jetstream.KeyValue, key string) (value []byte, revision uint64, err error) {
	e, err := streams.Get(ctx, kv, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of bucket %s: %w", key, kv.Bucket(), err)
	}
	return e.Value(), e.Revision(), nil
}
