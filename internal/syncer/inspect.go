package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An Inspector tells how the work of a mode stands, for metrics and for people. It changes nothing, and needs no syncer to
// be running.
type Inspector struct {
	*store
	mode entitlement.Mode
}

// Inspect opens the streams and buckets of a mode; it fails if one is missing.
func Inspect(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode) (*Inspector, error) {
	s, err := openStore(ctx, publisher{JetStream: js, took: topology.NameNoRoom}, mode)
	if err != nil {
		return nil, err
	}
	return &Inspector{store: s, mode: mode}, nil
}

// A Backlog is what waits in a part of STRIPE_SYNC.
type Backlog struct {
	// Waiting messages have been handed to no syncer, Held ones to one that has not settled them: it works on them, or they
	// are to be delivered again after a failure.
	Waiting, Held uint64
	// Again counts the held ones that were delivered more than once.
	Again uint64
	// Oldest is when the oldest of them was stored, zero if there is none. A customer that is marked again counts from then.
	Oldest time.Time
}

// Len is how many there are.
func (b Backlog) Len() uint64 { return b.Waiting + b.Held }

// Lane is the dirty customers of a lane.
func (i *Inspector) Lane(ctx context.Context, l stripeevent.Lane) (Backlog, error) {
	return i.backlog(ctx, topology.LaneConsumer(i.mode, l), "stripe.sync."+string(i.mode)+"."+string(l)+".>")
}

// Jobs is the jobs that are due.
func (i *Inspector) Jobs(ctx context.Context) (Backlog, error) {
	return i.backlog(ctx, topology.JobConsumer(i.mode), stripeevent.JobSubject(i.mode, ">"))
}

func (i *Inspector) backlog(ctx context.Context, consumer, subjects string) (Backlog, error) {
	c, err := i.js.Consumer(ctx, topology.SyncStream, consumer)
	if err != nil {
		return Backlog{}, fmt.Errorf("consumer %s: %w", consumer, err)
	}
	info := c.CachedInfo()
	b := Backlog{Waiting: info.NumPending, Held: uint64(info.NumAckPending), Again: uint64(info.NumRedelivered)}
	switch m, err := i.store.sync.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subjects)); {
	case err == nil:
		b.Oldest = m.Time
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return Backlog{}, fmt.Errorf("oldest message of %s: %w", subjects, err)
	}
	return b, nil
}

// Failing counts the customers whose last sync failed.
type Failing struct {
	// Retried are tried again by themselves, Parked are not.
	Retried, Parked int
	// OldestParked is when the first of the parked was, zero if there is none.
	OldestParked time.Time
	// Stalled are those of the retried that began to fail after the success that was given, StalledAt when the first of them did. If that was
	// anybody's newest, more than one of them, for more than moments, are no customer's own trouble.
	Stalled   int
	StalledAt time.Time
	// Error is that of the newest failure among the retried.
	Error string
}

// Failing reads the entries of all failing customers, one after the other. [Inspector.NewestSnapshot] tells the newest success.
func (i *Inspector) Failing(ctx context.Context, success time.Time) (Failing, error) {
	w, err := i.state.Watch(ctx, "parked."+string(i.mode)+".>", jetstream.IgnoreDeletes())
	if err != nil {
		return Failing{}, fmt.Errorf("read the failing customers: %w", err)
	}
	defer w.Stop()
	var f Failing
	var newest time.Time
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok { // not the end of the entries: the connection is gone
				return Failing{}, errors.New("read the failing customers: ended before its end")
			}
			if e == nil {
				return f, nil
			}
			var entry Failure
			if json.Unmarshal(e.Value(), &entry) != nil {
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
		case <-ctx.Done():
			return Failing{}, fmt.Errorf("read the failing customers: %w", context.Cause(ctx))
		}
	}
}

// Uncovered is what the coverage job would mark again now.
type Uncovered struct {
	// Customers have an event that no sync covers, nor will: no marker, and not parked.
	Customers int
	// Oldest is when the earliest of those events was stored, zero if there is none.
	Oldest time.Time
	// Waiting customers have a marker.
	Waiting int
}

// Uncovered checks the events that the coverage job has not found covered yet, as that job does, and marks nobody.
func (i *Inspector) Uncovered(ctx context.Context, marks stripeevent.Types) (Uncovered, error) {
	c := &coverage{store: i.store, mode: i.mode, marks: marks.Marks}
	cur, _, err := c.cursor(ctx)
	if err != nil {
		return Uncovered{}, err
	}
	waiting, missed := map[stripeevent.Customer]struct{}{}, map[stripeevent.Customer]uint64{}
	_, err = c.events(ctx, cur, func(ctx context.Context, latest map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error) {
		pending, missing, err := c.sort(ctx, latest)
		if err == nil && len(missing) > 0 {
			if err = sleep(ctx, secondLook); err == nil {
				var more []stripeevent.Customer
				more, missing, err = c.sort(ctx, missing)
				pending = append(pending, more...)
			}
		}
		for _, customer := range pending {
			waiting[customer] = struct{}{}
		}
		for customer, seq := range missing {
			if s, ok := missed[customer]; !ok || seq < s {
				missed[customer] = seq
			}
		}
		return nil, err
	})
	if err != nil {
		return Uncovered{}, err
	}
	u := Uncovered{Customers: len(missed), Waiting: len(waiting)}
	if len(missed) == 0 {
		return u, nil
	}
	m, err := i.store.events.GetMsg(ctx, slices.Min(slices.Collect(maps.Values(missed))))
	if err != nil {
		return Uncovered{}, fmt.Errorf("read an event that no sync covers: %w", err)
	}
	u.Oldest = m.Time
	return u, nil
}

// Schedules are the jobs' schedules that are there, by job.
func (i *Inspector) Schedules(ctx context.Context) (map[string]string, error) {
	prefix := stripeevent.CronSubject(i.mode, "")
	info, err := i.store.sync.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("list the schedules: %w", err)
	}
	found := map[string]string{}
	for subject := range info.State.Subjects {
		m, err := i.store.sync.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // replaced this moment
		}
		if err != nil {
			return nil, fmt.Errorf("read schedule %s: %w", subject, err)
		}
		found[strings.TrimPrefix(subject, prefix)] = m.Header.Get(jetstream.ScheduleHeader)
	}
	return found, nil
}

// NewestEvent is when the newest event of the mode was stored, zero if there is none.
func (i *Inspector) NewestEvent(ctx context.Context) (time.Time, error) {
	_, at, err := i.newest(ctx, ">")
	return at, err
}

// NewestThin is the type of the newest thin event about a v1 object that names no customer, and when it was stored; "" if there is none.
func (i *Inspector) NewestThin(ctx context.Context) (string, time.Time, error) {
	return i.newest(ctx, "*.none.v1.>")
}

// NewestOf is when the newest event of a type was stored, zero if there is none.
func (i *Inspector) NewestOf(ctx context.Context, typ string) (time.Time, error) {
	_, at, err := i.newest(ctx, "*.*."+typ)
	return at, err
}

// newest is the type of the newest event of the mode on certain subjects, and when it was stored.
func (i *Inspector) newest(ctx context.Context, subjects string) (string, time.Time, error) {
	m, err := i.store.events.GetLastMsgForSubject(ctx, "stripe.event."+string(i.mode)+"."+subjects)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read the newest event: %w", err)
	}
	_, typ, _ := stripeevent.ParseEventSubject(m.Subject) // "" for a message that is not ours
	return typ, m.Time, nil
}

// Clock is the server's clock at some instant between this call and its return.
func (i *Inspector) Clock(ctx context.Context) (time.Time, error) {
	info, err := i.store.sync.Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	return info.TimeStamp, nil
}

// JobNames are the jobs that every syncer keeps a schedule of.
func JobNames() []string { return []string{"coverage", "recover", "fanout", "relief", "sweep"} }
