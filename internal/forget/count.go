package forget

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// Amounts counts the data of a customer.
type Amounts struct {
	Events  int `json:"events"`
	Records int `json:"records"`
	// Markers are the pending markers and the wake.
	Markers int `json:"markers"`
	// Entries are those of buckets: the snapshot and the failures. The claim is not counted: it
	// expires, and belongs to no mode.
	Entries int `json:"entries"`
	// Pages are those of a backfill in progress that have data of the customer, and of others: all
	// of them are erased.
	Pages int `json:"pages,omitempty"`
}

// Zero reports whether there is nothing.
func (n Amounts) Zero() bool { return n == Amounts{} }

// Count counts the data of a customer. The record that it was forgotten does not count.
func Count(ctx context.Context, js jetstream.JetStream, c stripeevent.Customer) (Amounts, error) {
	d, err := open(ctx, js, c)
	if err != nil {
		return Amounts{}, err
	}
	return d.count(ctx)
}

func (d *data) count(ctx context.Context) (n Amounts, err error) {
	events, err := d.sequences(ctx, topology.EventsStream, d.eventsSubject(), false)
	if err != nil {
		return n, err
	}
	records, err := d.sequences(ctx, topology.SyncedStream, d.recordsSubject(), false)
	if err != nil {
		return n, err
	}
	n.Events, n.Records = len(events), len(records)
	for _, subject := range d.pendingSubjects() {
		m, err := streams.Last(ctx, d.sync, subject)
		if err != nil {
			return n, err
		}
		if m != nil {
			n.Markers++
		}
	}
	places, err := d.places(ctx)
	if err != nil {
		return n, err
	}
	for _, p := range places {
		exists, err := p.exists(ctx)
		if err != nil {
			return n, err
		}
		if exists {
			n.Entries++
		}
	}
	n.Pages, err = d.pages(ctx)
	return n, err
}

// data is where a pipeline keeps data of one customer.
type data struct {
	customer             stripeevent.Customer
	js                   jetstream.JetStream
	events, sync, synced jetstream.Stream
	state                jetstream.KeyValue
}

func open(ctx context.Context, js jetstream.JetStream, c stripeevent.Customer) (d *data, err error) {
	d = &data{customer: c, js: js}
	if d.events, err = topology.OpenStream(ctx, js, topology.EventsStream); err != nil {
		return nil, err
	}
	if d.sync, err = topology.OpenStream(ctx, js, topology.SyncStream); err != nil {
		return nil, err
	}
	if d.synced, err = topology.OpenStream(ctx, js, topology.SyncedStream); err != nil {
		return nil, err
	}
	if d.state, err = topology.OpenBucket(ctx, js, topology.StateBucket); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *data) eventsSubject() string { return stripeevent.EventsOf(d.customer) }

func (d *data) recordsSubject() string { return stripeevent.SyncedSubject(d.customer) }

// pendingSubjects are those of the wake and of the markers.
func (d *data) pendingSubjects() []string {
	return []string{
		stripeevent.WakeSubject(d.customer),
		stripeevent.SyncSubject(stripeevent.Now, d.customer),
		stripeevent.SyncSubject(stripeevent.Bulk, d.customer),
	}
}

// sequences returns the sequences of the messages under a subject: of the records that the customer
// was forgotten, or of all others.
func (d *data) sequences(ctx context.Context, stream, subject string, forgotten bool) ([]uint64, error) {
	var list []uint64
	for m, err := range streams.Messages(ctx, d.js,
		streams.Reading{Stream: stream, Subjects: []string{subject}, HeadersOnly: true}) {
		if err != nil {
			return nil, err
		}
		if (m.Header.Get(stripeevent.ForgottenHeader) != "") == forgotten {
			list = append(list, m.Seq)
		}
	}
	return list, nil
}

// pages counts a backfill's pages with data of the customer. It holds few bytes at a time, however
// many there are.
func (d *data) pages(ctx context.Context) (n int, err error) {
	for m, err := range streams.Messages(ctx, d.js, streams.Reading{
		Stream: streams.Stream(topology.StateBucket), Subjects: []string{sweep.PagesSubject(d.customer)},
	}) {
		if err != nil {
			return n, err
		}
		if sweep.PageNames(m.Data, d.customer) {
			n++
		}
	}
	return n, nil
}

// A place is a bucket and key with data of a customer.
type place struct {
	kv  jetstream.KeyValue
	key string
	// always requests a purge even without an entry. A purge creates a revision, so that an earlier
	// reading of Stripe, by a backfill for example, fails on its compare-and-set instead of
	// creating the entry.
	always bool
}

func (p place) exists(ctx context.Context) (bool, error) {
	_, err := streams.Get(ctx, p.kv, p.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s of bucket %s: %w", p.key, p.kv.Bucket(), err)
	}
	return true, nil
}

func (d *data) places(ctx context.Context) ([]place, error) {
	list := []place{{kv: d.state, key: stripeevent.ParkedKey(d.customer)}}
	kv, err := topology.OpenBucket(ctx, d.js, entitlement.Bucket(d.customer.Mode))
	if errors.Is(err, topology.ErrNoPipeline) {
		return list, nil // no syncer of this mode has run yet
	}
	return append(list, place{kv: kv, key: d.customer.Key(), always: true}), err
}
