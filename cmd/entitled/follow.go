package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// A follower tells of every change in a bucket, joined with the record of the sync that made it. The change is what
// a watcher of the bucket sees; the record, which comes a moment later, only says what it took.
type follower struct {
	nc   *nats.Conn
	mode entitlement.Mode
	keys []string // empty: all
	log  *slog.Logger
	// onRecord, if not nil, hears of every record, those of syncs that changed nothing too.
	onRecord func(syncer.Record)

	// unrecorded says that records do not come, so that there is no point in waiting for one.
	unrecorded atomic.Bool
}

// recordPatience is how long a change waits for its record. One that is late is not worth more: the line says less then.
const recordPatience = time.Second

// A recordID is the sync that a record is of: a snapshot's changed_at is the as_of of the sync that wrote its content.
type recordID struct {
	key  string
	asOf int64 // unix nanoseconds
}

type recorded struct {
	id   recordID
	came time.Time
	syncer.Record
}

// run calls opened once the bucket's state is known, then tell for each change, the state that was found included, until ctx
// ends or tell returns an error. It returns nil when ctx has ended.
func (f *follower) run(ctx context.Context, opened func(*entitlement.Client), tell func(change) error) error {
	records := make(chan recorded, 256)
	sub, err := f.subscribe(ctx, records)
	if err != nil {
		return fmt.Errorf("follow the records of syncs: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed next
	client, err := entitlement.Open(ctx, f.nc, f.mode, &entitlement.Options{Customers: f.keys, Logger: f.log})
	switch {
	case ctx.Err() != nil && err == nil:
		return client.Close()
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	opened(client)

	ctx, cancel := context.WithCancel(ctx)
	changes := make(chan change, 256)
	watched := make(chan struct{})
	go func() { // run waits for it below
		defer close(watched)
		for c := range client.Watch(ctx, f.keys...) {
			select {
			case changes <- changeOf(c, time.Now()):
			case <-ctx.Done():
			}
		}
		cancel() // the client has ended, with its connection: nothing more comes
	}()
	err = f.join(ctx, changes, records, tell)
	cancel()
	<-watched
	if st := client.Status(); st.Ended && err == nil {
		err = st.Err
	}
	if cerr := client.Close(); err == nil {
		err = cerr
	}
	return err
}

func changeOf(c entitlement.Change, seen time.Time) change {
	out := change{key: c.Key, revision: c.Revision, initial: c.Initial, after: c.Snapshot, seen: seen}
	if c.Previous.Customer != "" {
		out.before = &c.Previous
	}
	return out
}

// subscribe has the records of syncs sent to records, as they are stored.
func (f *follower) subscribe(ctx context.Context, records chan<- recorded) (*nats.Subscription, error) {
	sub, err := f.nc.Subscribe("stripe.synced."+string(f.mode)+".>", func(m *nats.Msg) {
		c, err := stripeevent.ParseSyncedSubject(m.Subject)
		r := recorded{came: time.Now()}
		if err != nil || json.Unmarshal(m.Data, &r.Record) != nil {
			return // not a syncer's
		}
		r.id = recordID{c.Key(), r.AsOf.UnixNano()}
		if f.onRecord != nil {
			f.onRecord(r.Record)
		}
		select {
		case records <- r:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return nil, err
	}
	// A change that comes first must find the subscription made; the server says so, or that the user may not.
	flushing, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return sub, f.nc.FlushWithContext(flushing)
}

// join tells changes in the order in which they came, each as soon as its record is there.
func (f *follower) join(ctx context.Context, changes <-chan change, records <-chan recorded, tell func(change) error) error {
	var waiting []change
	known := map[recordID]recorded{}
	timer := time.NewTimer(recordPatience)
	defer timer.Stop()
	for {
		select {
		case c := <-changes:
			waiting = append(waiting, c)
		case r := <-records:
			remember(known, r)
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		for len(waiting) > 0 {
			c := waiting[0]
			id := recordID{c.key, c.after.ChangedAt.UnixNano()}
			if r, ok := known[id]; ok {
				c.record = &r.Record
				delete(known, id)
			} else if wait := recordPatience - time.Since(c.seen); f.awaits(c) && wait > 0 {
				timer.Reset(wait)
				break
			}
			waiting = waiting[1:]
			if err := tell(c); err != nil {
				return err
			}
		}
	}
}

// awaits says that a record of the change is still to come.
func (f *follower) awaits(c change) bool {
	return !c.initial && c.after.Customer != "" && !f.unrecorded.Load()
}

// remember keeps a record until its change comes. Records that changed nothing have none, and neither has the first of two
// changes that came as one; those are forgotten with time.
func remember(known map[recordID]recorded, r recorded) {
	switch r.Outcome {
	case syncer.Created, syncer.Changed, syncer.Deleted:
	default:
		return
	}
	known[r.id] = r
	const plenty = 1000
	if len(known) < plenty {
		return
	}
	for id, old := range known {
		if time.Since(old.came) > recordPatience {
			delete(known, id)
		}
	}
}
