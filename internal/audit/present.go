package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Present is the present state of a customer.
type Present struct {
	At time.Time `json:"at"`
	// Snapshot is the bucket's, nil for none or for one that cannot be read; Unreadable then says
	// why.
	Snapshot   *entitlement.Snapshot `json:"snapshot"`
	Revision   uint64                `json:"revision,omitempty"`
	Unreadable string                `json:"unreadable,omitempty"`
	// Newer says that a later version of this program wrote it. The syncers leave it as it is until
	// they are upgraded to that version.
	Newer bool `json:"newer,omitempty"`
	// NextLook is the time of the customer's scheduled check; nil for none.
	NextLook *time.Time `json:"next_look"`
	// Markers are the pending ones, at most one per lane.
	Markers []Marker `json:"markers"`
	// Failure is set while syncs fail; the customer is parked if ParkedAt is set.
	Failure *record.Failure `json:"failure"`
	// Running reports whether a syncer of the mode answers; nil if that was not requested, see
	// [Log.Running], or is unknown.
	Running *bool `json:"syncer_running,omitempty"`
	// Fresh is a reading of Stripe, if one was requested.
	Fresh *Fresh `json:"fresh,omitempty"`
}

// A Marker is a pending marker.
type Marker struct {
	Lane     stripeevent.Lane  `json:"lane"`
	Seq      uint64            `json:"seq"`
	StoredAt time.Time         `json:"stored_at"`
	Cause    entitlement.Cause `json:"cause"`
}

// Fresh is a reading of Stripe, compared with the bucket.
type Fresh struct {
	AsOf     time.Time             `json:"as_of"`
	Snapshot *entitlement.Snapshot `json:"snapshot"`
	// Changes are the differences from the bucket's snapshot to this one.
	Changes    []Change `json:"changes"`
	Requests   int      `json:"stripe_requests"`
	RequestIDs []string `json:"stripe_request_ids"`
}

func (l *Log) present(ctx context.Context, c stripeevent.Customer, now time.Time) (Present, error) {
	p := Present{At: now.UTC(), Markers: []Marker{}}
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		m, err := streams.Last(ctx, l.sync, stripeevent.SyncSubject(lane, c))
		if err != nil {
			return p, fmt.Errorf("look for a marker of %s: %w", c, err)
		}
		if m != nil {
			p.Markers = append(p.Markers, Marker{lane, m.Sequence, m.Time.UTC(), stripeevent.DecodeMarker(m.Data)})
		}
	}
	m, err := streams.Last(ctx, l.sync, stripeevent.WakeSubject(c))
	if err != nil {
		return p, fmt.Errorf("look for the next check of %s: %w", c, err)
	}
	if m != nil {
		if at, err := time.Parse("@at "+time.RFC3339Nano, m.Header.Get(jetstream.ScheduleHeader)); err == nil {
			at = at.UTC()
			p.NextLook = &at
		}
	}
	if p.Failure, err = l.failure(ctx, c); err != nil {
		return p, err
	}
	return p, l.snapshot(ctx, c, &p)
}

func (l *Log) failure(ctx context.Context, c stripeevent.Customer) (*record.Failure, error) {
	data, _, err := entry(ctx, l.state, stripeevent.ParkedKey(c))
	if data == nil || err != nil {
		return nil, err
	}
	var f record.Failure
	if json.Unmarshal(data, &f) != nil {
		return nil, nil // not written by a syncer: syncers count from 0
	}
	return &f, nil
}

func (l *Log) snapshot(ctx context.Context, c stripeevent.Customer, p *Present) error {
	kv, err := l.entitlements(ctx, c.Mode)
	if errors.Is(err, topology.ErrNoPipeline) {
		return nil // no syncer of this mode has run yet
	}
	if err != nil {
		return err
	}
	data, revision, err := entry(ctx, kv, c.Key())
	if err != nil {
		return err
	}
	p.found(data, revision)
	return nil
}

// lookAgain reads the snapshot from the bucket's leader, as a syncer does.
func (l *Log) lookAgain(ctx context.Context, c stripeevent.Customer, p *Present) error {
	i, err := inspect.Open(ctx, l.js, c.Mode)
	if err != nil {
		return l.snapshot(ctx, c, p) // without a leader, an existing snapshot can still be read
	}
	data, revision, err := i.Snapshot(ctx, c.Key())
	if err != nil {
		return fmt.Errorf("read the snapshot of %s: %w", c, err)
	}
	p.found(data, revision)
	return nil
}

// found takes an entry of the bucket; no data means none.
func (p *Present) found(data []byte, revision uint64) {
	if data == nil {
		return
	}
	p.Revision = revision
	s, err := entitlement.Decode(data)
	if err != nil {
		p.Unreadable, p.Newer = err.Error(), errors.Is(err, entitlement.ErrSchema)
		return
	}
	p.Snapshot = &s
}

// Compare compares a reading of Stripe, made at asOf, with the bucket. It writes nothing.
func (p *Present) Compare(read stripeapi.State, trace stripeapi.Trace, d *plans.Document, asOf time.Time) {
	s := reduce.Reduce(read, asOf)
	plans.Decide(&s, d)
	if p.Snapshot != nil {
		s = reduce.Without(s, p.Snapshot.Omitted)
	}
	p.Fresh = &Fresh{
		AsOf: asOf.UTC(), Snapshot: &s, Changes: Changes(p.Snapshot, &s), Requests: trace.Requests,
		RequestIDs: trace.RequestIDs,
	}
}
