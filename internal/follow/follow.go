package follow

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// A Follower reports every change in a bucket, joined with the record of the sync that wrote it.
// The record arrives a moment after the change, and only adds the costs of the sync.
type Follower struct {
	NATS *nats.Conn
	Mode entitlement.Mode
	// Refs name the customers as [entitlement.Client] takes them; empty for all.
	Refs []string
	Log  *slog.Logger
	// OnRecord, if not nil, hears of every record, those of syncs that changed nothing too.
	OnRecord func(record.Record)

	// Unrecorded says that records do not come, so that there is no point in waiting for one.
	Unrecorded atomic.Bool
}

// subscribeWithin bounds the subscription to records.
const subscribeWithin = 5 * time.Second

// recordPatience is how long a change waits for its record. One that is late is not worth more: the
// line says less then.
const recordPatience = time.Second

// A recordID is the sync that a record is of: a snapshot's changed_at is the as_of of the sync that
// wrote its content.
type recordID struct {
	key  string
	asOf int64 // unix nanoseconds
}

type recorded struct {
	id   recordID
	came time.Time
	record.Record
}

// Run calls opened once the state of the bucket is known, and then tell for each change, including
// the state at the start, until ctx ends or tell returns an error. It returns nil if ctx has ended.
func (f *Follower) Run(ctx context.Context, opened func(*entitlement.Client), tell func(Change) error) error {
	records := make(chan recorded, 256)
	sub, err := f.subscribe(ctx, records)
	if err != nil {
		return fmt.Errorf("follow the records of syncs: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed next
	client, err := entitlement.Open(ctx, f.NATS, f.Mode, &entitlement.Options{Customers: f.keys(), Logger: f.Log})
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
	changes := make(chan Change, 256)
	watched := make(chan struct{})
	go func() { // run waits for it below
		defer close(watched)
		for c := range client.Watch(ctx, f.Refs...) {
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

// keys are the customers that the client reads: all if an id is named, because any may have it.
func (f *Follower) keys() []string {
	for _, ref := range f.Refs {
		if _, isID := entitlement.ParseRef(ref); isID {
			return nil
		}
	}
	return f.Refs
}

func changeOf(c entitlement.Change, seen time.Time) Change {
	out := Change{Key: c.Key, Revision: c.Revision, Initial: c.Initial, After: c.Snapshot, Seen: seen}
	if c.Previous.Customer != "" {
		out.Before = &c.Previous
	}
	return out
}

// subscribe has the records of syncs sent to records, as they are stored.
func (f *Follower) subscribe(ctx context.Context, records chan<- recorded) (*nats.Subscription, error) {
	sub, err := f.NATS.Subscribe("stripe.synced."+string(f.Mode)+".>", func(m *nats.Msg) {
		c, err := stripeevent.ParseSyncedSubject(m.Subject)
		r := recorded{came: time.Now()}
		if err != nil || json.Unmarshal(m.Data, &r.Record) != nil {
			return // not a syncer's
		}
		r.id = recordID{c.Key(), r.AsOf.UnixNano()}
		if f.OnRecord != nil {
			f.OnRecord(r.Record)
		}
		select {
		case records <- r:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return nil, err
	}
	// A change that comes first must find the subscription made; the server says so, or that the
	// user may not.
	flushing, cancel := context.WithTimeout(ctx, subscribeWithin)
	defer cancel()
	return sub, f.NATS.FlushWithContext(flushing)
}

// join yields changes in the order in which they came, each as soon as its record is there.
func (f *Follower) join(ctx context.Context, changes <-chan Change, records <-chan recorded,
	tell func(Change) error) error {
	var waiting []Change
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
			id := recordID{c.Key, c.After.ChangedAt.UnixNano()}
			if r, ok := known[id]; ok {
				c.Record = &r.Record
				delete(known, id)
			} else if wait := recordPatience - time.Since(c.Seen); f.awaits(c) && wait > 0 {
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
func (f *Follower) awaits(c Change) bool {
	return !c.Initial && c.After.Customer != "" && !f.Unrecorded.Load()
}

// remember keeps a record until its change comes. Records that changed nothing have none, and
// neither has the first of two changes that came as one; those are forgotten with time.
func remember(known map[recordID]recorded, r recorded) {
	switch r.Outcome {
	case record.Created, record.Changed, record.Deleted:
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
