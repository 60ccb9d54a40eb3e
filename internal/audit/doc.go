// Package audit reads what the pipeline remembers and tells it: which events came ([Log.Events]), what became of one customer
// ([Log.Story]) and what that comes to ([Story.Standing]), who is parked ([Log.Parked]). It can have what was read acted upon again ([Log.Mark], [Log.Missing]) and forgotten ([Log.Forget]).
//
// The common path is [Open], then one of these. A [Slice] says which part of the log is meant.
//
// Reading streams: however long the log is, what is held of it is bounded, and each method says by what. A slice of one customer,
// account or type is read through a filter on its subject, so that the rest is not looked at. Nothing here prints, and nothing here
// syncs: what is to be synced is marked, in the lane for bulk work, and marking twice is harmless.
//
// Limits: the log holds what EVENTS_MAX_AGE keeps. What is older than that is not told of.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A Log is the memory of one pipeline. It is safe for concurrent use.
type Log struct {
	js                   jetstream.JetStream
	events, sync, synced jetstream.Stream
	state                jetstream.KeyValue
}

// ErrNoPipeline says that a stream or bucket is not there: no ingest and no syncer have run on this NATS yet.
var ErrNoPipeline = errors.New("no pipeline here")

// Open finds the streams, and the bucket of failures. It returns [ErrNoPipeline] where one is missing. The buckets that may be missing,
// of a mode without a syncer and of the pace, which is in memory, are looked for by what needs them.
func Open(ctx context.Context, js jetstream.JetStream) (*Log, error) {
	l := &Log{js: js}
	for _, x := range []struct {
		to   *jetstream.Stream
		name string
	}{{&l.events, topology.EventsStream}, {&l.sync, topology.SyncStream}, {&l.synced, topology.SyncedStream}} {
		stream, err := js.Stream(ctx, x.name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("%w: there is no stream %s", ErrNoPipeline, x.name)
		}
		if err != nil {
			return nil, fmt.Errorf("open stream %s: %w", x.name, err)
		}
		*x.to = stream
	}
	var err error
	l.state, err = bucket(ctx, js, topology.StateBucket)
	return l, err
}

func bucket(ctx context.Context, js jetstream.JetStream, name string) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: there is no bucket %s", ErrNoPipeline, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	return kv, nil
}

// entitlements is the bucket of a mode.
func (l *Log) entitlements(ctx context.Context, m entitlement.Mode) (jetstream.KeyValue, error) {
	return bucket(ctx, l.js, entitlement.Bucket(m))
}

// A reading is a part of a stream, from its beginning on.
type reading struct {
	stream  string
	filters []string
	since   time.Time // zero: from the first message
	// headersOnly leaves the bodies in the server.
	headersOnly bool
	// lastPerSubject reads only the newest message of each subject.
	lastPerSubject bool
	// follow goes on behind the end until the context ends, or until followUntil if that is not zero.
	follow      bool
	followUntil time.Time
	// total, if not nil, is told how many messages there are before the first is read.
	total func(uint64)
}

// openWithin bounds the making of a consumer: where a million subjects are, the newest of each take the server seconds to find, and nats.go waits for five.
const openWithin = time.Minute

// silence is after how long without a message it is asked whether there are any more: those that were there may have been erased since. It is more than two
// of the heartbeats (15 s) by whose absence nats.go notices that it must begin anew.
var silence = 45 * time.Second

// buffered bounds the messages that the client holds ahead of its reader, in bytes: more than the largest message.
const buffered = 8 << 20

// read calls each for every message, in the order of the stream, until it returns false or an error, or the reading ends.
func (l *Log) read(ctx context.Context, r reading, each func(jetstream.Msg, *jetstream.MsgMetadata) (bool, error)) error {
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects:    r.filters,
		HeadersOnly:       r.headersOnly,
		InactiveThreshold: time.Minute,
	}
	switch {
	case r.lastPerSubject:
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case !r.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.since
	}
	opening, opened := context.WithTimeout(ctx, openWithin)
	defer opened()
	cons, err := l.js.OrderedConsumer(opening, r.stream, cfg)
	if err != nil {
		return fmt.Errorf("read %s: %w", r.stream, err)
	}
	pending := cons.CachedInfo().NumPending
	if r.total != nil {
		r.total(pending)
	}
	if pending == 0 && !r.follow {
		return nil
	}
	it, err := cons.Messages(jetstream.PullMaxBytes(buffered))
	if err != nil {
		return fmt.Errorf("read %s: %w", r.stream, err)
	}
	defer it.Stop()
	following := ctx
	if !r.followUntil.IsZero() {
		var over context.CancelFunc
		following, over = context.WithDeadline(ctx, r.followUntil)
		defer over()
	}
	nothing := false // was left after a silence
	for {
		waiting := ctx
		if pending == 0 { // there is nothing but what is still to come
			waiting = following
		}
		piece, heard := context.WithTimeout(waiting, silence)
		msg, err := it.Next(jetstream.NextContext(piece))
		heard()
		if err != nil {
			switch {
			case ctx.Err() != nil:
				err = context.Cause(ctx)
			case waiting.Err() != nil:
				return nil
			case piece.Err() != nil && (r.follow || anyLeft(ctx, cons)):
				nothing = false
				continue
			case piece.Err() != nil && !nothing:
				nothing = true // the last may be on its way
				continue
			case piece.Err() != nil:
				return nil
			}
			return fmt.Errorf("read %s: %w", r.stream, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", r.stream, err)
		}
		more, err := each(msg, meta)
		if err != nil || !more {
			return err
		}
		if pending = meta.NumPending; pending == 0 && !r.follow {
			return nil
		}
	}
}

// anyLeft says whether a consumer has more to come. Where that cannot be told, there may be.
func anyLeft(ctx context.Context, cons jetstream.Consumer) bool {
	info, err := cons.Info(ctx)
	return err != nil || info.NumPending > 0
}

// entry reads a bucket's entry, nil and 0 where there is none.
func entry(ctx context.Context, kv jetstream.KeyValue, key string) (value []byte, revision uint64, err error) {
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of bucket %s: %w", key, kv.Bucket(), err)
	}
	return e.Value(), e.Revision(), nil
}

// last is the newest message of a subject, nil where there is none.
func last(ctx context.Context, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	return m, nil
}

// lanes are both, the one that goes first first.
func lanes() []stripeevent.Lane { return []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} }
