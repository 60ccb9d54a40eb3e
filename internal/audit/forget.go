package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

// TriggerForget is the trigger of the record that a customer was forgotten.
const TriggerForget = "forget"

// Erased counts what forgetting a customer erases.
type Erased struct {
	Events  int `json:"events"`
	Records int `json:"records"`
	// Markers are those pending, and the scheduled next check.
	Markers int `json:"markers"`
	// Entries are those of buckets: the snapshot and the failures. The pace is not among them: it ends by itself, and is of no mode.
	Entries int `json:"entries"`
	// Pages are those on which a backfill keeps what it read of the customer, and of others, while it is not done: all of them go.
	Pages int `json:"pages,omitempty"`
}

// Zero says that there is nothing.
func (e Erased) Zero() bool { return e == Erased{} }

// Remembered counts what there is of a customer; the record that it was forgotten counts as nothing.
func (l *Log) Remembered(ctx context.Context, c stripeevent.Customer) (Erased, error) {
	var n Erased
	events, err := l.sequences(ctx, topology.EventsStream, eventsOf(c), false)
	if err != nil {
		return n, err
	}
	records, err := l.sequences(ctx, topology.SyncedStream, stripeevent.SyncedSubject(c), false)
	if err != nil {
		return n, err
	}
	n.Events, n.Records = len(events), len(records)
	for _, subject := range pending(c) {
		m, err := last(ctx, l.sync, subject)
		if err != nil {
			return n, err
		}
		if m != nil {
			n.Markers++
		}
	}
	places, err := l.places(ctx, c)
	if err != nil {
		return n, err
	}
	for _, p := range places {
		data, _, err := entry(ctx, p.kv, p.key)
		if err != nil {
			return n, err
		}
		if data != nil {
			n.Entries++
		}
	}
	n.Pages, err = l.pages(ctx, c)
	return n, err
}

// pages counts those that a backfill keeps of the customer. Few bytes of them are held at a time, however many there are.
func (l *Log) pages(ctx context.Context, c stripeevent.Customer) (n int, err error) {
	r := reading{stream: "KV_" + topology.StateBucket, filters: []string{syncer.PagesSubject(c)}}
	err = l.read(ctx, r, func(msg jetstream.Msg, _ *jetstream.MsgMetadata) (bool, error) {
		if syncer.PageTells(msg.Data(), c) {
			n++
		}
		return true, nil
	})
	return n, err
}

// Forget erases a customer: its events and records are overwritten in the store, its markers and its scheduled check removed, its
// entries purged, so that watchers see the snapshot vanish. What stays is a record that it was forgotten, under the customer's id and with
// nothing else of it, and its key in the bucket with nothing in it. A backfill that keeps pages which tell of the customer loses all its pages:
// it starts over.
//
// The record comes first: coverage goes by it from then on, and recovery once it is the customer's oldest, which it is before
// an event is missing. So neither undoes what is erased; it is there if this is interrupted; and the record of a sync that is under way comes behind it.
//
// A sync that is under way may write once more, a page that a backfill has asked for and not stored yet is not seen, and an event, a
// request, a sweep or a backfill that comes later brings the customer back, as long as Stripe has it. Events that were created before are
// not recovered. Where the server encrypts its store, or the entry was in a bucket, the bytes go with the block that they are in and are
// not overwritten.
func (l *Log) Forget(ctx context.Context, c stripeevent.Customer) (Erased, error) {
	var n Erased
	at, err := l.recordForgotten(ctx, c)
	if err != nil {
		return n, err
	}
	if err := l.removeForgotten(ctx, c, at); err != nil {
		return n, err
	}
	// Markers before the rest: what they would start would bring back what is erased next.
	for _, subject := range pending(c) {
		m, err := last(ctx, l.sync, subject)
		if err != nil {
			return n, err
		}
		if m != nil {
			n.Markers++
		}
		if err := l.sync.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return n, fmt.Errorf("remove %s: %w", subject, err)
		}
	}
	places, err := l.places(ctx, c)
	if err != nil {
		return n, err
	}
	for _, p := range places {
		data, _, err := entry(ctx, p.kv, p.key)
		if err != nil {
			return n, err
		}
		if data == nil && !p.always {
			continue
		}
		if err := p.kv.Purge(ctx, p.key); err != nil {
			return n, fmt.Errorf("purge %s of bucket %s: %w", p.key, p.kv.Bucket(), err)
		}
		if data != nil {
			n.Entries++
		}
	}
	// Pages after the bucket: what a backfill has in its memory is not written over what the bucket says now.
	if n.Pages, err = l.pages(ctx, c); err == nil && n.Pages > 0 {
		err = syncer.RemovePages(ctx, l.js, c)
	}
	if err != nil {
		return n, err
	}
	if err := l.purgePace(ctx, c); err != nil {
		return n, err
	}
	// Records before events: recovery looks at the oldest record of the customer whose events are missing.
	if n.Records, err = l.erase(ctx, l.synced, topology.SyncedStream, stripeevent.SyncedSubject(c)); err != nil {
		return n, err
	}
	n.Events, err = l.erase(ctx, l.events, topology.EventsStream, eventsOf(c))
	return n, err
}

// purgePace takes away the claim on the customer's syncs. A NATS that was restarted has none, and no bucket until the next syncer starts.
func (l *Log) purgePace(ctx context.Context, c stripeevent.Customer) error {
	kv, err := bucket(ctx, l.js, topology.PaceBucket)
	if errors.Is(err, ErrNoPipeline) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := kv.Purge(ctx, c.Key()); err != nil {
		return fmt.Errorf("purge %s of bucket %s: %w", c.Key(), kv.Bucket(), err)
	}
	return nil
}

// removeForgotten removes the records that the customer was forgotten before: the oldest record is to say when it was last.
func (l *Log) removeForgotten(ctx context.Context, c stripeevent.Customer, before uint64) error {
	list, err := l.sequences(ctx, topology.SyncedStream, stripeevent.SyncedSubject(c), true)
	if err != nil {
		return err
	}
	for _, seq := range list {
		if seq >= before {
			continue
		}
		if err := l.synced.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("remove message %d of %s: %w", seq, topology.SyncedStream, err)
		}
	}
	return nil
}

// recordForgotten leaves the record that the customer is forgotten. It covers the events so far, so that coverage does not ask for
// a sync of events that are no more. The time is that of NATS: recovery compares it with Stripe's, and a machine on which this runs by hand
// may be wrong by hours. It returns the record's sequence.
func (l *Log) recordForgotten(ctx context.Context, c stripeevent.Customer) (uint64, error) {
	info, err := l.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of %s: %w", topology.EventsStream, err)
	}
	now := info.TimeStamp.UTC()
	body, err := json.Marshal(syncer.Record{
		Trigger: TriggerForget, EventsSeq: info.State.LastSeq, StartedAt: now, AsOf: now,
		StripeRequestIDs: []string{}, Outcome: syncer.Deleted, Cause: entitlement.Cause{Trigger: TriggerForget},
	})
	if err != nil {
		return 0, fmt.Errorf("record that %s was forgotten: %w", c, err)
	}
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{
		Subject: stripeevent.SyncedSubject(c), Data: body,
		Header: nats.Header{stripeevent.ForgottenHeader: {now.Format(time.RFC3339)}},
	})
	if err != nil {
		return 0, fmt.Errorf("record that %s was forgotten: %w", c, err)
	}
	return ack.Sequence, nil
}

// A place is where a bucket has something of a customer.
type place struct {
	kv  jetstream.KeyValue
	key string
	// always says to purge the key also where it has no entry. A purge leaves a revision behind it: what was read of Stripe before, by a
	// backfill say, is then not written where nothing is, but fails on its compare-and-set.
	always bool
}

func (l *Log) places(ctx context.Context, c stripeevent.Customer) ([]place, error) {
	list := []place{{kv: l.state, key: stripeevent.ParkedKey(c)}}
	kv, err := l.entitlements(ctx, c.Mode)
	if errors.Is(err, ErrNoPipeline) {
		return list, nil
	}
	return append(list, place{kv: kv, key: c.Key(), always: true}), err
}

func pending(c stripeevent.Customer) []string {
	list := []string{stripeevent.WakeSubject(c)}
	for _, lane := range lanes() {
		list = append(list, stripeevent.SyncSubject(lane, c))
	}
	return list
}

func eventsOf(c stripeevent.Customer) string {
	account := c.Account
	if account == "" {
		account = Own
	}
	return Slice{Mode: c.Mode, Account: account, Customer: c.ID}.filters()[0]
}

// sequences are those of the messages under a subject: of the records that the customer was forgotten, or of all others.
func (l *Log) sequences(ctx context.Context, stream, subject string, forgotten bool) ([]uint64, error) {
	var list []uint64
	r := reading{stream: stream, filters: []string{subject}, headersOnly: true}
	err := l.read(ctx, r, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) (bool, error) {
		if (msg.Headers().Get(stripeevent.ForgottenHeader) != "") == forgotten {
			list = append(list, meta.Sequence.Stream)
		}
		return true, nil
	})
	return list, err
}

// erase overwrites the messages under a subject; removing them by a purge of the subject would leave their bytes in the store
// until the server rewrites the block.
func (l *Log) erase(ctx context.Context, stream jetstream.Stream, name, subject string) (erased int, err error) {
	list, err := l.sequences(ctx, name, subject, false)
	if err != nil {
		return 0, err
	}
	for _, seq := range list {
		err := stream.SecureDeleteMsg(ctx, seq)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return erased, fmt.Errorf("erase message %d of %s: %w", seq, name, err)
		}
		erased++
	}
	return erased, nil
}
