package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// store is the outside as it is: JetStream and Stripe.
type store struct {
	js       publisher
	events   jetstream.Stream
	sync     jetstream.Stream
	synced   jetstream.Stream
	bucket   *leaderKV
	pacing   *leaderKV
	state    *leaderKV
	stripe   *stripeapi.Client
	budget   *stripeapi.Budget
	throttle func()
	// ackWithin is how long PubAcks of many messages at once are waited for.
	ackWithin time.Duration
	// unreadable is told of a record that does not decode, by its sequence; said is the last one that it was told of.
	unreadable func(c stripeevent.Customer, seq uint64)
	said       atomic.Uint64
}

func openStore(ctx context.Context, js publisher, mode entitlement.Mode) (*store, error) {
	s := &store{js: js, ackWithin: ackWithin, unreadable: func(stripeevent.Customer, uint64) {}}
	for _, x := range []struct {
		to   *jetstream.Stream
		name string
	}{{&s.events, topology.EventsStream}, {&s.sync, topology.SyncStream}, {&s.synced, topology.SyncedStream}} {
		stream, err := js.Stream(ctx, x.name)
		if err != nil {
			return nil, fmt.Errorf("open stream %s: %w", x.name, err)
		}
		*x.to = stream
	}
	// What the bucket of claims does not take costs requests, and keeps no sync from its end.
	quiet := publisher{JetStream: js.JetStream, took: topology.NameNoRoom}
	for _, x := range []struct {
		to   **leaderKV
		js   publisher
		name string
	}{{&s.bucket, js, entitlement.Bucket(mode)}, {&s.pacing, quiet, topology.PaceBucket}, {&s.state, js, topology.StateBucket}} {
		kv, err := openLeaderKV(ctx, x.js, x.name)
		if err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", x.name, err)
		}
		*x.to = kv
	}
	return s, nil
}

func (s *store) NewestMarker(ctx context.Context, subject string) (uint64, error) {
	m, err := s.sync.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

func (s *store) Claim(ctx context.Context, key string) (claim, uint64, error) {
	data, revision, err := s.pacing.value(ctx, key)
	return decodeClaim(data), revision, err
}

func (s *store) SetClaim(ctx context.Context, key string, c claim, revision uint64) error {
	_, err := s.pacing.write(ctx, key, c.encode(), revision)
	return err
}

func (s *store) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	return s.bucket.value(ctx, key)
}

func (s *store) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	written, err := s.bucket.write(ctx, key, data, revision)
	return written, sized(err, s.bucketStream())
}

// get reads an entry and its revision, nil and 0 where there is none. What put writes over it may have been written and
// deleted in between: a snapshot's bucket takes [leaderKV.value] and [leaderKV.write].
func get(ctx context.Context, kv jetstream.KeyValue, key string) ([]byte, uint64, error) {
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return e.Value(), e.Revision(), nil
}

// put writes an entry over the given revision, or where there is none.
func put(ctx context.Context, kv jetstream.KeyValue, key string, value []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		written, err := kv.Create(ctx, key, value)
		if errors.Is(err, jetstream.ErrKeyExists) {
			return 0, errConflict
		}
		return written, err
	}
	written, err := kv.Update(ctx, key, value, revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return 0, errConflict
	}
	return written, err
}

// isConflict reports whether a publish that expected a subject's last sequence found another; replicated streams have a code of
// their own for it.
func isConflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func (s *store) LastEvent(ctx context.Context) (uint64, error) {
	return lastSequence(ctx, s.js, topology.EventsStream)
}

func (s *store) PlaceAtHand() bool { return s.budget.AtHand() }

func (s *store) PlaceAhead(ctx context.Context) { s.budget.Ahead(ctx) }

func (s *store) Place(ctx context.Context, kind stripeapi.Kind) error {
	return s.budget.Take(ctx, kind)
}

func (s *store) ReturnPlace() { s.budget.Return() }

func (s *store) Throttled(ctx context.Context) error {
	s.throttle()
	return s.budget.Throttled(ctx)
}

func (s *store) Fetch(ctx context.Context, c stripeevent.Customer, place func(context.Context) error) (stripeapi.State, stripeapi.Trace, error) {
	return s.stripe.Fetch(ctx, c.Account, c.ID, place)
}

func (s *store) SetWake(ctx context.Context, c stripeevent.Customer, at time.Time) error {
	_, err := s.js.PublishMsg(ctx, wakeMessage(c, at))
	return err
}

func wakeMessage(c stripeevent.Customer, at time.Time) *nats.Msg {
	m := nats.NewMsg(stripeevent.WakeSubject(c))
	// By hand: nats.go's option truncates to whole seconds and so fires early.
	m.Header.Set(jetstream.ScheduleHeader, wakeSchedule(at))
	m.Header.Set(jetstream.ScheduleTargetHeader, stripeevent.SyncSubject(stripeevent.Bulk, c))
	m.Data = stripeevent.EncodeMarker(entitlement.Cause{Trigger: stripeevent.TriggerWake})
	return m
}

func wakeSchedule(at time.Time) string { return "@at " + at.UTC().Format(time.RFC3339Nano) }

func (s *store) ClearWake(ctx context.Context, c stripeevent.Customer) error {
	return s.sync.Purge(ctx, jetstream.WithPurgeSubject(stripeevent.WakeSubject(c)))
}

func (s *store) AppendRecord(ctx context.Context, c stripeevent.Customer, r Record) error {
	_, err := s.js.Publish(ctx, stripeevent.SyncedSubject(c), r.encode())
	return sized(err, topology.SyncedStream)
}

func (s *store) LatestRecord(ctx context.Context, c stripeevent.Customer) (recordHead, error) {
	m, err := s.synced.GetLastMsgForSubject(ctx, stripeevent.SyncedSubject(c))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return recordHead{}, nil
	}
	if err != nil {
		return recordHead{}, err
	}
	var r recordHead
	if json.Unmarshal(m.Data, &r) != nil {
		// Not a record of ours, and so no record: that costs a sync too many, where an error would hold up all the others too.
		if s.said.Swap(m.Sequence) != m.Sequence {
			s.unreadable(c, m.Sequence)
		}
		return recordHead{}, nil
	}
	return r, nil
}

func (s *store) Failure(ctx context.Context, c stripeevent.Customer) (Failure, uint64, error) {
	data, revision, err := get(ctx, s.state, stripeevent.ParkedKey(c))
	var f Failure
	if data != nil && json.Unmarshal(data, &f) != nil {
		// Not an entry of ours: count anew over it.
		f = Failure{}
	}
	return f, revision, err
}

func (s *store) SetFailure(ctx context.Context, c stripeevent.Customer, f Failure, revision uint64) error {
	b, _ := json.Marshal(f) // strings, numbers and times: cannot fail
	_, err := put(ctx, s.state, stripeevent.ParkedKey(c), b, revision)
	return err
}

func (s *store) ClearFailure(ctx context.Context, c stripeevent.Customer, revision uint64) error {
	err := s.state.Delete(ctx, stripeevent.ParkedKey(c), jetstream.LastRevision(revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return errConflict
	}
	return err
}
