package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/repair"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An Inspector reads the state of a mode's work.
type Inspector struct {
	*store.Store
	mode entitlement.Mode
}

// Open opens the streams and buckets of a mode; it fails if one is missing.
func Open(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode) (*Inspector, error) {
	s, err := store.Open(ctx, store.Publisher{JetStream: js, Took: topology.NameNoRoom}, mode)
	if err != nil {
		return nil, err
	}
	return New(s, mode), nil
}

// New inspects through an open store.
func New(s *store.Store, mode entitlement.Mode) *Inspector {
	return &Inspector{Store: s, mode: mode}
}

// A Backlog counts the messages of a lane, or the jobs, in STRIPE_SYNC.
type Backlog struct {
	// Waiting messages were not delivered yet. Delivered ones were, and are not acknowledged: a
	// syncer works on them, or they will be delivered again after a failure.
	Waiting, Delivered uint64
	// Redelivered counts the delivered ones that were delivered more than once.
	Redelivered uint64
	// Oldest is when the oldest of them was stored, zero if there is none. A customer that is
	// marked again counts from then.
	Oldest time.Time
}

// Len counts all of them.
func (b Backlog) Len() uint64 { return b.Waiting + b.Delivered }

// Lane returns the backlog of a lane: its dirty customers.
func (i *Inspector) Lane(ctx context.Context, l stripeevent.Lane) (Backlog, error) {
	return i.backlog(ctx, topology.LaneConsumer(i.mode, l), "stripe.sync."+string(i.mode)+"."+string(l)+".>")
}

// Jobs returns the backlog of jobs that are due.
func (i *Inspector) Jobs(ctx context.Context) (Backlog, error) {
	return i.backlog(ctx, topology.JobConsumer(i.mode), stripeevent.JobSubject(i.mode, ">"))
}

func (i *Inspector) backlog(ctx context.Context, consumer, subjects string) (Backlog, error) {
	c, err := i.JS.Consumer(ctx, topology.SyncStream, consumer)
	if err != nil {
		return Backlog{}, fmt.Errorf("consumer %s: %w", consumer, err)
	}
	info := c.CachedInfo()
	b := Backlog{
		Waiting: info.NumPending, Delivered: uint64(info.NumAckPending), Redelivered: uint64(info.NumRedelivered),
	}
	m, err := streams.First(ctx, i.Store.Sync, 1, subjects)
	if err != nil {
		return Backlog{}, fmt.Errorf("look for the oldest message: %w", err)
	}
	if m != nil {
		b.Oldest = m.Time
	}
	return b, nil
}

// Failing counts the customers whose last sync failed.
type Failing struct {
	// Retried customers have a marker that is retried; Parked ones do not.
	Retried, Parked int
	// OldestParked is when the first of the parked customers was parked, zero if there is none.
	OldestParked time.Time
	// Stalled counts the retried customers that began to fail after the success passed to
	// [Inspector.Failing], StalledAt when the first of them did. If that was the newest success of
	// all, and several customers stall for more than moments, the cause is common to all customers.
	Stalled   int
	StalledAt time.Time
	// Error is the newest error of a retried customer.
	Error string
}

// Failing reads the entries of all failing customers. success is when a sync last succeeded, as
// from [Inspector.NewestSnapshot].
func (i *Inspector) Failing(ctx context.Context, success time.Time) (Failing, error) {
	var f Failing
	var newest time.Time
	for item, err := range streams.Items(ctx, i.JS, i.State.Bucket(), "parked."+string(i.mode)+".>") {
		if err != nil {
			return Failing{}, fmt.Errorf("read the failing customers: %w", err)
		}
		var entry record.Failure
		if json.Unmarshal(item.Value, &entry) != nil {
			continue // not an entry of ours
		}
		if entry.ParkedAt != nil {
			f.Parked++
			if f.OldestParked.IsZero() || entry.ParkedAt.Before(f.OldestParked) {
				f.OldestParked = *entry.ParkedAt
			}
			continue
		}
		f.Retried++
		if entry.LastAt.After(newest) {
			newest, f.Error = entry.LastAt, entry.Error
		}
		if entry.FirstAt.After(success) {
			f.Stalled++
			if f.StalledAt.IsZero() || entry.FirstAt.Before(f.StalledAt) {
				f.StalledAt = entry.FirstAt
			}
		}
	}
	return f, nil
}

// standings are the values that the metrics need.
type standings struct {
	lanes   map[stripeevent.Lane]Backlog
	jobs    Backlog
	failing Failing
}

// standings reads the lanes, the jobs and the failing customers.
func (i *Inspector) standings(ctx context.Context) (standings, error) {
	st := standings{lanes: map[stripeevent.Lane]Backlog{}}
	var err error
	for _, l := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		if st.lanes[l], err = i.Lane(ctx, l); err != nil {
			return st, err
		}
	}
	if st.jobs, err = i.Jobs(ctx); err != nil {
		return st, err
	}
	st.failing, err = i.Failing(ctx, time.Time{})
	return st, err
}

// Uncovered counts the customers that the coverage job would mark now.
type Uncovered struct {
	// Customers have an event that no sync covers, no marker, and are not parked.
	Customers int
	// Oldest is when the earliest of those events was stored, zero if there is none.
	Oldest time.Time
	// Waiting customers have a marker.
	Waiting int
}

// Uncovered checks events as the coverage job does, from where its last run ended, and marks no
// customer.
func (i *Inspector) Uncovered(ctx context.Context, marks stripeevent.Types) (Uncovered, error) {
	c := &repair.Coverage{Store: i.Store, Mode: i.mode, Marks: marks.Marks}
	missed, waiting, err := c.UncoveredNow(ctx)
	u := Uncovered{Customers: len(missed), Waiting: waiting}
	if err != nil || len(missed) == 0 {
		return u, err
	}
	m, err := i.Store.Events.GetMsg(ctx, slices.Min(slices.Collect(maps.Values(missed))))
	if err != nil {
		return Uncovered{}, fmt.Errorf("read an event that no sync covers: %w", err)
	}
	u.Oldest = m.Time
	return u, nil
}

// Schedules returns the schedules in STRIPE_SYNC, by job.
func (i *Inspector) Schedules(ctx context.Context) (map[string]string, error) {
	prefix := stripeevent.CronSubject(i.mode, "")
	info, err := i.Store.Sync.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("list the schedules: %w", err)
	}
	found := map[string]string{}
	for subject := range info.State.Subjects {
		m, err := streams.Last(ctx, i.Store.Sync, subject)
		if err == nil && m == nil {
			continue // replaced this moment
		}
		if err != nil {
			return nil, fmt.Errorf("look for a schedule: %w", err)
		}
		found[strings.TrimPrefix(subject, prefix)] = m.Header.Get(jetstream.ScheduleHeader)
	}
	return found, nil
}

// NewestEvent returns when the newest event of the mode was stored, zero if there is none.
func (i *Inspector) NewestEvent(ctx context.Context) (time.Time, error) {
	_, at, err := i.newest(ctx, ">")
	return at, err
}

// NewestThin returns the type of the newest thin event about a v1 object without a customer, and
// when it was stored; "" if there is none.
func (i *Inspector) NewestThin(ctx context.Context) (string, time.Time, error) {
	return i.newest(ctx, "*.none.v1.>")
}

// NewestOf returns when the newest event of a type was stored, zero if there is none.
func (i *Inspector) NewestOf(ctx context.Context, typ string) (time.Time, error) {
	_, at, err := i.newest(ctx, "*.*."+typ)
	return at, err
}

// newest returns the type of the mode's newest event on the subjects, and when it was stored.
func (i *Inspector) newest(ctx context.Context, subjects string) (string, time.Time, error) {
	m, err := streams.Last(ctx, i.Store.Events, "stripe.event."+string(i.mode)+"."+subjects)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("look for the newest event: %w", err)
	}
	if m == nil {
		return "", time.Time{}, nil
	}
	_, typ, _ := stripeevent.ParseEventSubject(m.Subject) // "" for a message that is not ours
	return typ, m.Time, nil
}

// Clock returns the server's time at an instant between the call and its return.
func (i *Inspector) Clock(ctx context.Context) (time.Time, error) {
	info, err := i.Store.Sync.Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	return info.TimeStamp, nil
}

// JobNames returns the names of the jobs that have a schedule.
func JobNames() []string {
	return []string{"coverage", "recover", "fanout", "decide", "relief", "sweep"}
}

// FeaturesRefused reports whether active entitlements are not read because Stripe refuses to say
// whether it has features.
func (i *Inspector) FeaturesRefused(ctx context.Context) (bool, error) {
	known, err := store.FeaturesEntry(i.State, i.mode, "").Get(ctx)
	return known.V.Refused && !known.V.Any, err
}
