package inspect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/repair"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Snapshots compares the bucket of a mode with every customer named by a record or a marking event.
// Each of them must have an entry, except those that were forgotten, and those whose first sync is
// pending or fails. A customer without an entry has no access.
type Snapshots struct {
	// Entries counts the entries of the bucket.
	Entries int
	// Counted says that there are so many customers that they were only counted, and that the
	// buckets of both modes have at least as many entries as there are customers with a record.
	// Delete markers count as entries then.
	Counted bool
	// Recorded counts the customers of both modes with a record, with the forgotten ones.
	Recorded int
	// Missing counts the customers without an entry.
	Missing int
	// Unread names the data that was not read to its end, "" if all was read. Missing may be too
	// low then.
	Unread string
	// Looked counts the missing customers that were examined. Of these, Failing fail or are parked,
	// First have a marker and no record yet, Marked have a marker and a record, and Lost have
	// neither a marker nor a failure.
	Looked, Failing, First, Marked, Lost int
	// Contents is empty if there are too many entries to read, or not all were read.
	Contents Contents
}

// snapshotLimits bound the comparison: a million customers take a server a while.
type snapshotLimits struct {
	// within bounds the time for reading.
	within time.Duration
	// compare is the number of customers up to which all are compared, whatever the counts say: the
	// bucket also has entries of customers whose records have aged out, and each of these hides one
	// that is missing. Up to so many entries the contents are read too.
	compare int
	// look bounds the missing customers that are examined, and lookFor the time for it: each takes
	// several reads in sequence, and NATS may be far away.
	look    int
	lookFor time.Duration
}

// Snapshots compares the bucket with the customers that must be in it, for at most within.
func (i *Inspector) Snapshots(ctx context.Context, marks stripeevent.Types, within time.Duration) (Snapshots, error) {
	return i.snapshots(ctx, marks, snapshotLimits{within: within, compare: 100_000, look: 1000,
		lookFor: 5 * time.Second})
}

func (i *Inspector) snapshots(
	ctx context.Context, marks stripeevent.Types, limit snapshotLimits,
) (s Snapshots, err error) {
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
	// Counting the subjects of one mode takes a server seconds with a million of them; it knows the
	// count of the whole stream.
	info, err := i.Synced.Info(ctx)
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
	found, err := i.missing(read, marks, limit, &s)
	if err != nil && (read.Err() == nil || ctx.Err() != nil) { // else Unread is set
		return s, err
	}
	return s, i.examine(ctx, found, limit.lookFor, &s)
}

// A missingCustomer has no entry in the bucket.
type missingCustomer struct {
	stripeevent.Customer
	recorded bool
}

// missing reads the bucket, then the customers that must be in it, and returns the first few of
// those that are not. It keeps hashes of the keys in memory. Until it is done, s.Unread names the
// data that it reads.
func (i *Inspector) missing(
	ctx context.Context, marks stripeevent.Types, limit snapshotLimits, s *Snapshots,
) (found []missingCustomer, err error) {
	few := limit.look
	s.Unread = "the entries of the bucket"
	start, err := i.Clock(ctx)
	if err != nil {
		return nil, err
	}
	// Records stored during the reading are left out: their snapshots may have been written after
	// the bucket was read. And a busy log has no end.
	start = start.Add(-i.Timing.TooYoung)
	have, err := i.keys(ctx, s.Entries <= limit.compare, &s.Contents)
	if err != nil {
		return nil, err
	}
	s.Entries = have.Len()
	lack := idset.New()
	note := func(c stripeevent.Customer, recorded bool) {
		key := c.Key()
		if c.ID == "" || have.Has(key) || lack.Has(key) {
			return
		}
		lack.Add(key)
		if s.Missing++; len(found) < few {
			found = append(found, missingCustomer{c, recorded})
		}
	}
	s.Unread = "the records"
	newest := streams.Reading{
		Stream: topology.SyncedStream, Subjects: []string{"stripe.synced." + string(i.mode) + ".>"},
		Newest: true, HeadersOnly: true,
	}
	for msg, err := range streams.Messages(ctx, i.JS, newest) {
		if err != nil {
			return found, err
		}
		if msg.Stored.After(start) {
			break
		}
		forgotten := msg.Header.Get(stripeevent.ForgottenHeader) != ""
		if c, err := stripeevent.ParseSyncedSubject(msg.Subject); err == nil && !forgotten {
			note(c, true)
		}
	}
	s.Unread = "the events"
	if s.Missing > few {
		return found, nil // the events have several times as many subjects, and enough is known
	}
	// Coverage checks later events. Earlier ones were covered by a record, which may be lost since.
	covered, err := (&repair.Coverage{Store: i.Store, Mode: i.mode}).CoveredTo(ctx)
	if err != nil {
		return found, err
	}
	newest.Stream, newest.Subjects = topology.EventsStream, []string{"stripe.event." + string(i.mode) + ".>"}
	for msg, err := range streams.Messages(ctx, i.JS, newest) {
		if err != nil {
			return found, err
		}
		if msg.Seq >= covered {
			break
		}
		if c, typ, err := stripeevent.ParseEventSubject(msg.Subject); err == nil && marks.Marks(typ) {
			note(c, false)
		}
	}
	s.Unread = ""
	return found, nil
}

// keys returns the keys of the bucket. If whole is set, it reads the entries too, into c.
func (i *Inspector) keys(ctx context.Context, whole bool, c *Contents) (idset.Set, error) {
	keys := idset.New()
	entries, read := streams.Keys, newReading()
	if whole {
		entries = streams.Items
	}
	for item, err := range entries(ctx, i.JS, i.Bucket.Bucket()) {
		if err != nil {
			return keys, err
		}
		keys.Add(item.Key)
		if whole {
			read.add(item.Key, item.Value)
		}
	}
	if whole {
		*c = read.contents()
	}
	return keys, nil
}

// examine counts why each customer is missing. It looks for the marker first: if a sync settles the
// marker meanwhile, the failure or the snapshot is found.
func (i *Inspector) examine(
	ctx context.Context, found []missingCustomer, within time.Duration, s *Snapshots,
) error {
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

// entries counts the entries of a mode's bucket, with delete markers; 0 if there is no bucket.
func (i *Inspector) entries(ctx context.Context, m entitlement.Mode) (int, error) {
	stream, err := i.JS.Stream(ctx, "KV_"+entitlement.Bucket(m))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the snapshots of mode %s: %w", m, err)
	}
	return int(stream.CachedInfo().State.Msgs), nil
}

// NewestSnapshot returns when the newest snapshot was written, zero if there is none. Every sync
// that succeeds writes.
func (i *Inspector) NewestSnapshot(ctx context.Context) (time.Time, error) {
	bucket := entitlement.Bucket(i.mode)
	stream, err := i.JS.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return time.Time{}, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	m, err := streams.Last(ctx, stream, "$KV."+bucket+".>")
	if err != nil {
		return time.Time{}, fmt.Errorf("look for the newest snapshot: %w", err)
	}
	if m == nil {
		return time.Time{}, nil
	}
	return m.Time, nil
}
