package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

// A Store is the protocol's [protocol.Outside] on JetStream and Stripe.
type Store struct {
	JS         Publisher
	Events     jetstream.Stream
	Sync       jetstream.Stream
	Synced     jetstream.Stream
	Bucket     *KV
	pacing     *KV
	State      *KV
	Plans      *KV
	Stripe     *stripeapi.Client
	Budget     *budget.Budget
	OnThrottle func()
	Timing     timing.Timing
	// OnUnreadable is called with the sequence of a record that does not decode; unreadable is the
	// last such sequence, so that it is called once for each.
	OnUnreadable func(c stripeevent.Customer, seq uint64)
	unreadable   atomic.Uint64

	mode         entitlement.Mode
	documents    documents
	haveFeatures haveFeatures
}

// Open opens the streams and buckets of a mode. It fails if one is missing. Its caller sets Stripe
// and Budget, and may set another Timing than [timing.Production].
func Open(ctx context.Context, js Publisher, mode entitlement.Mode) (*Store, error) {
	s := &Store{JS: js, mode: mode, Timing: timing.Production, OnUnreadable: func(stripeevent.Customer, uint64) {}}
	for _, x := range []struct {
		to   *jetstream.Stream
		name string
	}{{&s.Events, topology.EventsStream}, {&s.Sync, topology.SyncStream}, {&s.Synced, topology.SyncedStream}} {
		stream, err := js.Stream(ctx, x.name)
		if err != nil {
			return nil, fmt.Errorf("open stream %s: %w", x.name, err)
		}
		*x.to = stream
	}
	// A claim that NATS refuses costs requests, but no sync fails for it: such a refusal is no
	// trouble of the store.
	quiet := Publisher{JetStream: js.JetStream, Took: topology.NameNoRoom}
	for _, x := range []struct {
		to   **KV
		js   Publisher
		name string
	}{
		{&s.Bucket, js, entitlement.Bucket(mode)},
		{&s.pacing, quiet, topology.PaceBucket},
		{&s.State, js, topology.StateBucket},
		{&s.Plans, js, topology.PlansBucket},
	} {
		kv, err := openLeaderKV(ctx, x.js, x.name)
		if err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", x.name, err)
		}
		*x.to = kv
	}
	return s, nil
}

// NewestMarker returns the sequence of the last marker on a subject, 0 if there is none.
func (s *Store) NewestMarker(ctx context.Context, subject string) (uint64, error) {
	m, err := streams.Last(ctx, s.Sync, subject)
	if m == nil {
		return 0, err
	}
	return m.Sequence, nil
}

func (s *Store) Claim(ctx context.Context, key string) (protocol.Claim, uint64, error) {
	data, revision, err := s.pacing.value(ctx, key)
	return protocol.DecodeClaim(data), revision, err
}

func (s *Store) SetClaim(ctx context.Context, key string, c protocol.Claim, revision uint64) error {
	_, err := s.pacing.write(ctx, key, c.Encode(), revision)
	return err
}

func (s *Store) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	return s.Bucket.value(ctx, key)
}

func (s *Store) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	written, err := s.Bucket.write(ctx, key, data, revision)
	return written, Sized(err, s.BucketStream())
}

// Get reads an entry and its revision, nil and 0 if there is none. A compare-and-set over 0 does
// not notice that the key was written and deleted in between; snapshots and claims are read with
// [KV.value].
func Get(ctx context.Context, kv jetstream.KeyValue, key string) ([]byte, uint64, error) {
	e, err := streams.Get(ctx, kv, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return e.Value(), e.Revision(), nil
}

// IsConflict reports whether a publish failed because its subject's last sequence is not the
// expected one. Replicated streams have a code of their own for that.
func IsConflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func (s *Store) LastEvent(ctx context.Context) (uint64, error) {
	return lastSequence(ctx, s.JS, topology.EventsStream)
}

func (s *Store) TryPermit() bool { return s.Budget.TryTake() }

func (s *Store) PrefetchPermit(ctx context.Context) { s.Budget.Prefetch(ctx) }

func (s *Store) TakePermit(ctx context.Context, kind stripeapi.Kind) error {
	return s.Budget.Take(ctx, kind)
}

// BulkPermit is [Store.TakePermit] for work that can wait.
func (s *Store) BulkPermit(ctx context.Context) error { return s.TakePermit(ctx, stripeapi.Bulk) }

func (s *Store) ReturnPermit() { s.Budget.Return() }

func (s *Store) Throttled(ctx context.Context) error {
	s.OnThrottle()
	return s.Budget.Throttled(ctx)
}

func (s *Store) Fetch(
	ctx context.Context, c stripeevent.Customer, reading plans.Reading, permit func(context.Context) error,
) (stripeapi.State, stripeapi.Trace, error) {
	reading, err := s.Reading(ctx, c.Account, reading, permit)
	if err != nil {
		return stripeapi.State{}, stripeapi.Trace{}, err
	}
	state, trace, err := s.Stripe.Entitlements(reading == plans.ReadAlways).Fetch(ctx, c.Account, c.ID, permit)
	if err == nil && reading == plans.ReadNone && !state.Deleted {
		state.Features, state.Unasked = []string{}, true
	}
	return state, trace, err
}

func (s *Store) SetWake(ctx context.Context, c stripeevent.Customer, at time.Time) error {
	_, err := s.JS.PublishMsg(ctx, WakeMessage(c, at))
	return err
}

// WakeMessage returns the scheduled message that marks a customer at an instant.
func WakeMessage(c stripeevent.Customer, at time.Time) *nats.Msg {
	m := nats.NewMsg(stripeevent.WakeSubject(c))
	// Not nats.go's option: it truncates to whole seconds and so fires early.
	m.Header.Set(jetstream.ScheduleHeader, wakeSchedule(at))
	m.Header.Set(jetstream.ScheduleTargetHeader, stripeevent.SyncSubject(stripeevent.Bulk, c))
	m.Data = stripeevent.EncodeMarker(entitlement.Cause{Trigger: stripeevent.TriggerWake})
	return m
}

func wakeSchedule(at time.Time) string { return "@at " + at.UTC().Format(time.RFC3339Nano) }

func (s *Store) ClearWake(ctx context.Context, c stripeevent.Customer) error {
	return s.Sync.Purge(ctx, jetstream.WithPurgeSubject(stripeevent.WakeSubject(c)))
}

func (s *Store) AppendRecord(ctx context.Context, c stripeevent.Customer, r record.Record) error {
	_, err := s.JS.Publish(ctx, stripeevent.SyncedSubject(c), r.Encode())
	return Sized(err, topology.SyncedStream)
}

func (s *Store) LatestRecord(ctx context.Context, c stripeevent.Customer) (record.Head, error) {
	m, err := streams.Last(ctx, s.Synced, stripeevent.SyncedSubject(c))
	if m == nil {
		return record.Head{}, err
	}
	head, ok := record.DecodeHead(m.Data)
	if !ok && s.unreadable.Swap(m.Sequence) != m.Sequence {
		// It counts as no record. That costs one sync; an error would stop coverage for all other
		// customers.
		s.OnUnreadable(c, m.Sequence)
	}
	return head, nil
}

func (s *Store) Failure(ctx context.Context, c stripeevent.Customer) (record.Failure, uint64, error) {
	v, err := s.failure(c).Get(ctx)
	return v.V, v.Revision, err
}

func (s *Store) SetFailure(ctx context.Context, c stripeevent.Customer, f record.Failure, revision uint64) error {
	_, err := s.failure(c).Set(ctx, f, revision)
	return conflict(err)
}

func (s *Store) ClearFailure(ctx context.Context, c stripeevent.Customer, revision uint64) error {
	return conflict(s.failure(c).Delete(ctx, revision))
}

// failure returns the entry of a customer's failures. An entry that does not decode counts as none.
func (s *Store) failure(c stripeevent.Customer) streams.Entry[record.Failure] {
	return streams.Entry[record.Failure]{KV: s.State, Key: stripeevent.ParkedKey(c)}
}

// conflict replaces streams.ErrConflict with the protocol's error.
func conflict(err error) error {
	if errors.Is(err, streams.ErrConflict) {
		return protocol.ErrConflict
	}
	return err
}

var _ protocol.Outside = (*Store)(nil)
