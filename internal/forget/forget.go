package forget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// trigger is the trigger of the record that a customer was forgotten.
const trigger = "forget"

// Erase erases a customer: its events and records are overwritten in the store, its markers and its
// wake removed, its entries purged, so that watchers see the snapshot vanish. After an error, the
// amounts are those erased so far, and another Erase continues.
//
// The record that the customer was forgotten is stored first. Coverage respects it from then on,
// and recovery once it is the customer's oldest record, which it is before an event is missing. So
// neither restores what is erased; the record exists if Erase is interrupted; and the record of a
// sync in progress comes after it.
func Erase(ctx context.Context, js jetstream.JetStream, c stripeevent.Customer) (Amounts, error) {
	d, err := open(ctx, js, c)
	if err != nil {
		return Amounts{}, err
	}
	return d.erase(ctx)
}

func (d *data) erase(ctx context.Context) (n Amounts, err error) {
	at, err := d.recordForgotten(ctx)
	if err != nil {
		return n, err
	}
	if err := d.removeForgotten(ctx, at); err != nil {
		return n, err
	}
	// Markers first: their syncs would restore what is erased next.
	if n.Markers, err = d.removeMarkers(ctx); err != nil {
		return n, err
	}
	if n.Entries, err = d.purgeEntries(ctx); err != nil {
		return n, err
	}
	// Pages after the bucket: a backfill cannot write what it has in memory over the new revision
	// of the bucket.
	if n.Pages, err = d.pages(ctx); err == nil && n.Pages > 0 {
		err = sweep.RemovePages(ctx, d.js, d.customer)
	}
	if err != nil {
		return n, err
	}
	if err := d.purgePace(ctx); err != nil {
		return n, err
	}
	// Records before events: recovery checks the oldest record of a customer whose events are
	// missing.
	if n.Records, err = d.overwrite(ctx, d.synced, d.recordsSubject()); err != nil {
		return n, err
	}
	n.Events, err = d.overwrite(ctx, d.events, d.eventsSubject())
	return n, err
}

func (d *data) removeMarkers(ctx context.Context) (removed int, err error) {
	for _, subject := range d.pendingSubjects() {
		m, err := streams.Last(ctx, d.sync, subject)
		if err != nil {
			return removed, err
		}
		if m != nil {
			removed++
		}
		if err := d.sync.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return removed, fmt.Errorf("remove %s: %w", subject, err)
		}
	}
	return removed, nil
}

func (d *data) purgeEntries(ctx context.Context) (purged int, err error) {
	places, err := d.places(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range places {
		exists, err := p.exists(ctx)
		if err != nil {
			return purged, err
		}
		if !exists && !p.always {
			continue
		}
		if err := p.kv.Purge(ctx, p.key); err != nil {
			return purged, fmt.Errorf("purge %s of bucket %s: %w", p.key, p.kv.Bucket(), err)
		}
		if exists {
			purged++
		}
	}
	return purged, nil
}

// recordForgotten stores the record that the customer is forgotten, and returns its sequence. It
// covers the events so far, so that coverage does not request a sync for erased events. Its time is
// that of NATS, since recovery compares it with Stripe's, and the clock of an operator's machine
// may be wrong by hours.
func (d *data) recordForgotten(ctx context.Context) (uint64, error) {
	info, err := d.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of %s: %w", topology.EventsStream, err)
	}
	now := info.TimeStamp.UTC()
	body, err := json.Marshal(record.Record{
		Trigger: trigger, EventsSeq: info.State.LastSeq, StartedAt: now, AsOf: now,
		StripeRequestIDs: []string{}, Outcome: record.Deleted, Cause: entitlement.Cause{Trigger: trigger},
	})
	if err != nil {
		return 0, fmt.Errorf("record that %s was forgotten: %w", d.customer, err)
	}
	ack, err := d.js.PublishMsg(ctx, &nats.Msg{
		Subject: d.recordsSubject(), Data: body,
		Header: nats.Header{stripeevent.ForgottenHeader: {now.Format(time.RFC3339)}},
	})
	if err != nil {
		return 0, fmt.Errorf("record that %s was forgotten: %w", d.customer, err)
	}
	return ack.Sequence, nil
}

// removeForgotten removes earlier records that the customer was forgotten: its oldest record must
// have the latest time.
func (d *data) removeForgotten(ctx context.Context, before uint64) error {
	list, err := d.sequences(ctx, topology.SyncedStream, d.recordsSubject(), true)
	if err != nil {
		return err
	}
	for _, seq := range list {
		if seq >= before {
			continue
		}
		if err := d.synced.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("remove message %d of %s: %w", seq, topology.SyncedStream, err)
		}
	}
	return nil
}

// purgePace removes the customer's claim. A restarted NATS has none, and no bucket until the next
// syncer starts.
func (d *data) purgePace(ctx context.Context) error {
	kv, err := topology.OpenBucket(ctx, d.js, topology.PaceBucket)
	if errors.Is(err, topology.ErrNoPipeline) {
		return nil
	}
	if err != nil {
		return err
	}
	key := d.customer.Key()
	if err := kv.Purge(ctx, key); err != nil {
		return fmt.Errorf("purge %s of bucket %s: %w", key, kv.Bucket(), err)
	}
	return nil
}

// overwrite overwrites the messages under a subject. A purge of the subject would leave their bytes
// in the store until the server rewrites the block.
func (d *data) overwrite(ctx context.Context, stream jetstream.Stream, subject string) (erased int, err error) {
	name := stream.CachedInfo().Config.Name
	list, err := d.sequences(ctx, name, subject, false)
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
