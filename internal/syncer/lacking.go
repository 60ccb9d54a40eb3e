package syncer

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

// Snapshots is the bucket of a mode beside the customers that a record, or an event of a type that marks, names. Each of them must have
// an entry, but for those that were forgotten and those whose first sync is to come or fails. One that has none has no access.
type Snapshots struct {
	// Entries are those of the bucket.
	Entries int
	// Counted says that there are so many customers that they were only counted, and that both modes' buckets together have no fewer
	// entries than customers have a record. What was deleted counts as an entry then.
	Counted bool
	// Recorded are the customers of both modes with a record, those that were forgotten among them.
	Recorded int
	// Missing customers have no entry.
	Missing int
	// Unread is what was not read to its end, "" for nothing. Missing is then the least that there are.
	Unread string
	// Looked of the missing were looked at one by one. Of these, Failing fail or are parked, First have a marker and no record yet,
	// Marked have a marker and had a sync before, and Lost have nothing that would bring a snapshot.
	Looked, Failing, First, Marked, Lost int
}

// snapshotLimits bound the comparison, which takes a server a while with a million customers.
type snapshotLimits struct {
	// within is the time for reading.
	within time.Duration
	// compare is up to how many customers all are compared, whatever the counts say: the bucket also has entries of customers
	// whose records have aged out, which hide as many that are missing.
	compare int
	// look is how many of the missing are looked at one by one, and lookFor after how long no more are: each takes a few questions, one
	// after the other, and NATS may be far.
	look    int
	lookFor time.Duration
}

// Snapshots reads for as long as within.
func (i *Inspector) Snapshots(ctx context.Context, marks stripeevent.Types, within time.Duration) (Snapshots, error) {
	return i.snapshots(ctx, marks, snapshotLimits{within: within, compare: 100_000, look: 1000, lookFor: 5 * time.Second})
}

func (i *Inspector) snapshots(ctx context.Context, marks stripeevent.Types, limit snapshotLimits) (s Snapshots, err error) {
	both := 0
	for _, m := range []entitlement.Mode{entitlement.Live, entitlement.Test} {
		n, err := i.entries(ctx, m)
		if err != nil {
			return s, err
		}
		if both += n; m == i.mode {
			s.Entries = n
		}
	}
	// To count the subjects of one mode takes a server seconds where there are a million; those of the stream it knows.
	info, err := i.synced.Info(ctx)
	if err != nil {
		return s, fmt.Errorf("count the customers with a record: %w", err)
	}
	s.Recorded = int(info.State.NumSubjects)
	if min(s.Recorded, s.Entries) > limit.compare && both >= s.Recorded {
		s.Counted = true
		return s, nil
	}
	read, cancel := context.WithTimeout(ctx, limit.within)
	defer cancel()
	found, err := i.lacking(read, marks, limit.look, &s)
	if err != nil && (read.Err() == nil || ctx.Err() != nil) { // else Unread tells
		return s, err
	}
	return s, i.lookAt(ctx, found, limit.lookFor, &s)
}

// A lacker has no snapshot.
type lacker struct {
	stripeevent.Customer
	recorded bool
}

// lacking reads the bucket and then who must be in it: whom a record names has had its snapshot written before. It returns the first few
// that lack one. It holds hashes, not keys. Until it has ended, s.Unread says where it is.
func (i *Inspector) lacking(ctx context.Context, marks stripeevent.Types, few int, s *Snapshots) (found []lacker, err error) {
	s.Unread = "the entries of the bucket"
	start, err := i.Clock(ctx)
	if err != nil {
		return nil, err
	}
	// Records that are stored while this reads are not looked for: their snapshots may be behind what was read of the bucket. And a log
	// that is written to all the time has no end.
	start = start.Add(-tooYoung)
	have, lack := newIDSet(), newIDSet()
	prefix := "$KV." + i.bucket.Bucket() + "."
	err = i.skim(ctx, "KV_"+i.bucket.Bucket(), prefix+">", jetstream.DeliverAllPolicy, func(msg jetstream.Msg, _ *jetstream.MsgMetadata) bool {
		if !takenAway(msg.Headers()) {
			have.add(msg.Subject()[len(prefix):])
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	s.Entries = have.len()
	note := func(c stripeevent.Customer, recorded bool) {
		key := c.Key()
		if c.ID == "" || have.has(key) || lack.has(key) {
			return
		}
		lack.add(key)
		if s.Missing++; len(found) < few {
			found = append(found, lacker{c, recorded})
		}
	}
	s.Unread = "the records"
	newest := jetstream.DeliverLastPerSubjectPolicy
	err = i.skim(ctx, topology.SyncedStream, "stripe.synced."+string(i.mode)+".>", newest, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) bool {
		if meta.Timestamp.After(start) {
			return false
		}
		if c, err := stripeevent.ParseSyncedSubject(msg.Subject()); err == nil && msg.Headers().Get(stripeevent.ForgottenHeader) == "" {
			note(c, true)
		}
		return true
	})
	if err != nil {
		return found, err
	}
	s.Unread = "the events"
	if s.Missing > few {
		return found, nil // there are several times as many subjects of events, and enough is known
	}
	// Later events are what coverage looks after. Those before were found covered by a record, which may be lost since.
	cursor, _, err := (&coverage{store: i.store, mode: i.mode}).cursor(ctx)
	if err != nil {
		return found, err
	}
	err = i.skim(ctx, topology.EventsStream, "stripe.event."+string(i.mode)+".>", newest, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) bool {
		if meta.Sequence.Stream >= cursor.Seq {
			return false
		}
		if c, typ, err := stripeevent.ParseEventSubject(msg.Subject()); err == nil && marks.Marks(typ) {
			note(c, false)
		}
		return true
	})
	if err == nil {
		s.Unread = ""
	}
	return found, err
}

// skim calls do with the headers of what a stream has under a filter, in its order, until it returns false or there is no more. It makes one
// consumer, which takes a server seconds where there are a million subjects: a [logReader] makes one for each piece.
func (s *store) skim(ctx context.Context, stream, filter string, policy jetstream.DeliverPolicy, do func(jetstream.Msg, *jetstream.MsgMetadata) bool) error {
	failed := func(err error) error { return fmt.Errorf("read %s: %w", stream, err) }
	cons, err := s.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		FilterSubject: filter, DeliverPolicy: policy, HeadersOnly: true, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: readerGone,
	})
	if err != nil {
		return failed(err)
	}
	defer func() { _ = s.js.DeleteConsumer(context.WithoutCancel(ctx), stream, cons.CachedInfo().Name) }() // readerGone ends it too
	var last uint64
	for left := cons.CachedInfo().NumPending; left > 0; {
		msgs, err := fetch(ctx, cons, logChunk, 0)
		if err != nil {
			return failed(err)
		}
		for _, msg := range msgs {
			meta, err := msg.Metadata()
			if err != nil {
				return failed(err)
			}
			if meta.Sequence.Consumer != last+1 {
				return failed(fmt.Errorf("message %d came after %d", meta.Sequence.Consumer, last))
			}
			if last, left = meta.Sequence.Consumer, meta.NumPending; !do(msg, meta) {
				return nil
			}
		}
		if len(msgs) > 0 {
			continue
		}
		// What was left may have been replaced meanwhile.
		info, err := cons.Info(ctx)
		if err != nil {
			return failed(err)
		}
		if left = info.NumPending; left > 0 {
			if err := sleep(ctx, unheardWait); err != nil {
				return failed(err)
			}
		}
	}
	return nil
}

// lookAt says what is to be expected for each. The marker is looked for first: what settles it is seen as a failure or a snapshot.
func (i *Inspector) lookAt(ctx context.Context, found []lacker, within time.Duration, s *Snapshots) error {
	arrived, began := 0, time.Now()
	for _, c := range found {
		if s.Looked > 0 && time.Since(began) > within {
			break
		}
		marked := false
		for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
			seq, err := i.NewestMarker(ctx, stripeevent.SyncSubject(lane, c.Customer))
			if err != nil {
				return fmt.Errorf("look for a marker of %s: %w", c, err)
			}
			marked = marked || seq != 0
		}
		_, failing, err := i.Failure(ctx, c.Customer)
		if err != nil {
			return fmt.Errorf("look whether %s fails: %w", c, err)
		}
		snapshot, _, err := i.Snapshot(ctx, c.Key())
		switch {
		case err != nil:
			return fmt.Errorf("read the snapshot of %s: %w", c, err)
		case snapshot != nil: // a replica lagged
			arrived++
			continue
		case failing != 0:
			s.Failing++
		case marked && c.recorded:
			s.Marked++
		case marked:
			s.First++
		default:
			s.Lost++
		}
		s.Looked++
	}
	s.Missing -= arrived
	return nil
}

// entries counts those of a mode's bucket, what says that one was deleted among them; none if there is no bucket.
func (s *store) entries(ctx context.Context, m entitlement.Mode) (int, error) {
	stream, err := s.js.Stream(ctx, "KV_"+entitlement.Bucket(m))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the snapshots of mode %s: %w", m, err)
	}
	return int(stream.CachedInfo().State.Msgs), nil
}

// NewestSnapshot is when the newest snapshot was written, zero if there is none. Every sync that succeeds writes.
func (i *Inspector) NewestSnapshot(ctx context.Context) (time.Time, error) {
	bucket := entitlement.Bucket(i.mode)
	stream, err := i.js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return time.Time{}, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	m, err := stream.GetLastMsgForSubject(ctx, "$KV."+bucket+".>")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the newest snapshot: %w", err)
	}
	return m.Time, nil
}
