package syncer

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// overPayload are as many subscriptions of [rig.large] as do not fit into NATS's default
// max_payload.
const overPayload = 60

// noise is text of n bytes that does not compress.
func noise(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString(raw)[:n]
}

// large gives a customer subscriptions with all the metadata that Stripe takes, 25 KB each, of a
// kind that does not compress: a page of them is too large to be kept, too.
func (r *rig) large(c stripeevent.Customer, n int) (subscriptions []string) {
	r.t.Helper()
	for range n {
		metadata := map[string]string{}
		for i := range 50 {
			metadata[fmt.Sprintf("key_%d", i)] = noise(500)
		}
		id, err := r.sim.CreateSubscription(stripesim.SubscriptionParams{
			Customer: c.ID, Items: []stripesim.ItemParams{{Price: r.price}}, Metadata: metadata,
		})
		if err != nil {
			r.t.Fatal(err)
		}
		subscriptions = append(subscriptions, id)
	}
	return subscriptions
}

// Access ends also for a customer whose snapshot is larger than a message: 500 subscriptions with
// all the metadata that Stripe takes. What access does not depend on is left out.
func TestAccessOfTheLargestCustomer(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	huge := r.customer()
	most := 500
	if underRace {
		most = 60 // the detector makes the simulator too slow for more; they do not fit either
	}
	subscriptions := r.large(huge, most)
	r.start()
	r.mark(huge)
	s := r.await(huge, "access", func(s entitlement.Snapshot) bool { return s.Access })
	if diff := cmp.Diff([]string{entitlement.OmittedSubscriptionMetadata}, s.Omitted); diff != "" ||
		len(s.Subscriptions) != len(subscriptions) {
		t.Errorf("%d subscriptions, omitted (-want +got):\n%s", len(s.Subscriptions), diff)
	}
	for i := range s.Subscriptions {
		if sub := &s.Subscriptions[i]; len(sub.Metadata) != 0 || len(sub.Items) != 1 ||
			sub.Items[0].LookupKey != "pro_monthly" {
			t.Fatalf("subscription %+v, want it whole but for its metadata", sub)
		}
	}
	r.awaitIdle()
	if code, again := r.asks(r.conn(t), huge); code != "" || !again.Equal(&s) {
		t.Errorf("asked for: code %q, changed: %v", code, entitlement.Diff(&s, &again))
	}

	for _, id := range subscriptions {
		if err := r.sim.Cancel(id); err != nil {
			t.Fatal(err)
		}
	}
	r.mark(huge)
	s = r.await(huge, "no access", func(s entitlement.Snapshot) bool { return !s.Access })
	if diff := cmp.Diff([]string{entitlement.OmittedEndedMetadata}, s.Omitted); diff != "" || s.Status != "canceled" {
		t.Errorf("status %s, omitted (-want +got):\n%s", s.Status, diff)
	}
	r.awaitIdle()
	if f, failing := r.failure(huge); failing {
		t.Errorf("it failed: %+v", f)
	}
	recs := r.records(huge)
	last := recs[len(recs)-1]
	if last.Outcome != record.Changed || last.Snapshot == nil || !last.Snapshot.Equal(&s) {
		t.Errorf("last record %.300s, want the snapshot in it", last.Encode())
	}
}

// A snapshot that cannot be made to fit is held against its customer, who is parked at once with a
// reason that says what to do.
func TestWhatCannotFitIsParked(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, func(o *server.Options) { o.MaxPayload = 64<<10 + 100 })
	r := rigOn(t, srv.Conn, topology.Options{}, nil)
	c := r.customer()
	r.subscribe(c)
	r.start()
	r.mark(c)
	r.awaitIdle()
	f, _ := r.failure(c)
	if f.ParkedAt == nil {
		t.Fatalf("%s is not parked: %+v", c, f)
	}
	for _, want := range []string{c.ID, "bytes", "max_payload leaves 100 for a snapshot",
		"raise max_payload in nats.conf"} {
		if !strings.Contains(f.Error, want) {
			t.Errorf("parked for %q, which does not say %q", f.Error, want)
		}
	}
	recs := r.records(c)
	if len(recs) != 1 || recs[0].Outcome != record.Parked || recs[0].Error != f.Error || recs[0].Revision != 0 ||
		recs[0].Snapshot != nil {
		t.Errorf("records %+v, want one that it was parked", recs)
	}
}

// Whole accounts leave out the same parts as a sync: it finds nothing changed, and a sweep nothing
// that differs.
func TestSweepsOmitWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("TestAccessOfTheLargestCustomer has the same goroutines")
	}
	r := newRig(t, nil)
	huge := r.customer()
	subscriptions := r.large(huge, overPayload)
	o := r.operator()
	report, err := o.Backfill(t.Context(), sweep.Options{})
	if err != nil || report.Created != 1 || report.Unwritten != 0 {
		t.Fatalf("%v, report %+v, want one created", err, report)
	}
	s, _, _ := r.snapshot(huge)
	if diff := cmp.Diff([]string{entitlement.OmittedSubscriptionMetadata}, s.Omitted); diff != "" || !s.Access ||
		len(s.Subscriptions) != overPayload {
		t.Errorf("access %v, %d subscriptions, omitted (-want +got):\n%s", s.Access, len(s.Subscriptions), diff)
	}
	if report, err = o.Sweep(t.Context(), sweep.Options{}); err != nil || report.Marked != 0 || report.Unchanged != 1 {
		t.Errorf("sweep: %v, %+v, want nothing that differs", err, report)
	}
	res, err := o.s.protocol.Sync(t.Context(), t.Context(), protocol.Task{Customer: huge, Lane: stripeevent.Now})
	if err != nil || res.Record.Outcome != record.Unchanged {
		t.Errorf("sync: %v, %s, changed %v", err, res.Record.Outcome, res.Record.Changed)
	}
	r.mark(huge)
	if err := o.s.startRelief(t.Context(), stripeevent.Now, 0, 0); err != nil {
		t.Error(err)
	}
	if again, _, _ := r.snapshot(huge); !again.Equal(&s) {
		t.Errorf("after a relief: %v", entitlement.Diff(&s, &again))
	}
	r.awaitIdle()

	smaller := map[string]string{}
	for i := range 50 {
		smaller[fmt.Sprintf("key_%d", i)] = ""
	}
	for _, id := range subscriptions[10:] {
		if err := r.sim.UpdateSubscription(id, smaller); err != nil {
			t.Fatal(err)
		}
	}
	if res, err = o.s.protocol.Sync(t.Context(), t.Context(),
		protocol.Task{Customer: huge, Lane: stripeevent.Now}); err != nil || res.Snapshot.Omitted != nil {
		t.Errorf("%v, omitted %v, want all of it when it fits", err, res.Snapshot.Omitted)
	}
}

// A backfill, and a relief, leave out the customers whose snapshot NATS refuses, report them, and
// write all others.
func TestSweepsLeaveOutWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		subscriptions int
		// limited is a stream that takes messages of 100 kB.
		limited string
		// written says that there is a snapshot, without a record.
		written bool
		advice  string
	}{
		{"the bucket's max_msg_size", 5, "KV_" + entitlement.Bucket(entitlement.Test), false,
			"`entitled topology apply`"},
		{"the records' max_msg_size", 5, topology.SyncedStream, true, "`entitled topology apply`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			huge := r.customer()
			r.large(huge, c.subscriptions)
			ids := r.load(40)
			o := r.operator()
			r.limit(c.limited, 100_000)
			report, err := o.Backfill(t.Context(), sweep.Options{})
			if !errors.Is(err, sweep.ErrUnwritten) || !strings.Contains(err.Error(), huge.ID) ||
				!strings.Contains(err.Error(), c.advice) {
				t.Errorf("error %v, want one that names %s and says %q", err, huge, c.advice)
			}
			if report.Created != len(ids) || report.Unwritten != 1 || len(report.Reasons) != 1 {
				t.Errorf("report %+v, want one not written and all others created", report)
			}
			r.right("", ids)
			if _, _, there := r.snapshot(huge); there != c.written {
				t.Errorf("%s has a snapshot: %v, want %v", huge, there, c.written)
			}

			r.changeSilently(ids, 2)
			for _, id := range append(ids, huge.ID) {
				r.mark(ours(id))
			}
			if err := o.s.startRelief(t.Context(), stripeevent.Now, 0, 0); err != nil {
				t.Error(err)
			}
			r.right("", ids)
			for _, id := range ids {
				if _, err := r.marker(ours(id)); err == nil {
					t.Errorf("the marker of %s is left", id)
				}
			}
			m, err := r.marker(huge)
			if err != nil {
				t.Fatalf("marker of %s: %v, want it left to a sync of its own", huge, err)
			}
			if err := o.s.relief.look(t.Context()); err != nil { // it has ended
				t.Fatal(err)
			}
			own := protocol.Task{Customer: huge, Lane: stripeevent.Now, Subject: m.Subject, Seq: m.Sequence,
				Received: m.Time}
			d := delivery{}
			if o.s.protocol.Handle(t.Context(), t.Context(), own, &d); !d.acked {
				t.Errorf("%s is tried again, want it parked", huge)
			}
			recs := r.records(huge)
			if len(recs) == 0 {
				t.Fatalf("%s has no record", huge)
			}
			if last := recs[len(recs)-1]; last.Outcome != record.Parked || last.Revision != 0 ||
				last.Changed != nil || last.Snapshot != nil {
				t.Errorf("last record %.500s, want one that it was parked and nothing written", last.Encode())
			}
		})
	}
}

// A delivery is a message that the protocol settles.
type delivery struct{ acked bool }

func (d *delivery) Ack() error                       { d.acked = true; return nil }
func (d *delivery) Nak() error                       { return nil }
func (d *delivery) NakWithDelay(time.Duration) error { return nil }
func (d *delivery) InProgress() error                { return nil }

// limit sets the size of the messages that a stream takes, in bytes.
func (r *rig) limit(stream string, size int32) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgSize = size
	if _, err := r.js.UpdateStream(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
}

// The largest snapshot that is written has a record with all that a record can have.
func TestRecordOfTheLargestSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator(quiet).s.store
	c := r.customer()
	sized := func(n int) entitlement.Snapshot {
		snap := entitlement.Snapshot{Schema: entitlement.Schema, Customer: c.ID, Metadata: map[string]string{"k": ""}}
		snap.Metadata["k"] = strings.Repeat("<", n-len(snap.Encode()))
		return snap
	}
	largest := sized(s.Room())
	if err := reduce.Fit(&largest, s.Room()); err != nil || largest.Omitted != nil {
		t.Errorf("%v, omitted %v, want it to fit", err, largest.Omitted)
	}
	revision, err := s.WriteSnapshot(t.Context(), c.Key(), largest.Encode(), 0)
	if err != nil {
		t.Fatal(err)
	}
	rec := record.Record{Outcome: record.Changed, Revision: revision, Snapshot: &largest,
		Error: strings.Repeat("e", 1000)}
	for range 32 << 10 / len(`"access_until",`) {
		rec.Changed = append(rec.Changed, "access_until")
	}
	for range 1000 {
		rec.StripeRequestIDs = append(rec.StripeRequestIDs, "req_A2ZLXtG8YUTDKY")
	}
	if err := s.AppendRecord(t.Context(), c, rec); err != nil {
		t.Errorf("record of %d bytes: %v", len(rec.Encode()), err)
	}
}
