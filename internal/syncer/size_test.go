package syncer

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
)

// overPayload are as many subscriptions of [rig.large] as do not fit into NATS's default max_payload.
const overPayload = 60

// noise is text of n bytes that does not compress.
func noise(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString(raw)[:n]
}

// large gives a customer subscriptions with all the metadata that Stripe takes, 25 KB each, of a kind that does not compress: a page of them is
// too large to be kept, too.
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

// A snapshot that NATS does not take is held against its customer, who is parked at once with a reason that says what to do, and no other.
func TestTooLargeSnapshotIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	huge, other := r.customer(), r.customer()
	subscriptions := r.large(huge, overPayload)
	r.subscribe(other)
	r.start()
	r.mark(huge)
	r.mark(other)
	r.await(other, "active", status("active"))
	natstest.Eventually(t, patience, func() error {
		if f, _ := r.failure(huge); f.ParkedAt == nil {
			return fmt.Errorf("%s is not parked: %+v", huge, f)
		}
		return nil
	})
	r.awaitIdle()
	f, _ := r.failure(huge)
	for _, want := range []string{huge.ID, "bytes", "max_payload of 1048576", "raise max_payload in nats.conf"} {
		if !strings.Contains(f.Error, want) {
			t.Errorf("parked for %q, which does not say %q", f.Error, want)
		}
	}
	recs := r.records(huge)
	if len(recs) != 1 || recs[0].Outcome != Parked || recs[0].Error != f.Error || recs[0].Revision != 0 || recs[0].Snapshot != nil {
		t.Errorf("records %+v, want one that it was parked", recs)
	}

	for _, id := range subscriptions[10:] {
		smaller := map[string]string{}
		for i := range 50 {
			smaller[fmt.Sprintf("key_%d", i)] = ""
		}
		if err := r.sim.UpdateSubscription(id, smaller); err != nil {
			t.Fatal(err)
		}
	}
	r.mark(huge)
	r.await(huge, "active", status("active"))
	r.awaitIdle()
	if f, failing := r.failure(huge); failing {
		t.Errorf("still parked: %+v", f)
	}
}

// A backfill, and a sweep after an outage, leave out whom NATS does not take, say so and write all others.
func TestSweepsLeaveOutWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		subscriptions int
		// limited is a stream that takes messages of 100 kB, none if it is empty.
		limited string
		// written says that there is a snapshot, without a record.
		written bool
		advice  string
	}{
		{"max_payload", overPayload, "", false, "raise max_payload in nats.conf"},
		{"the bucket's max_msg_size", 5, "KV_" + entitlement.Bucket(entitlement.Test), false, "`entitled topology apply`"},
		{"the records' max_msg_size", 5, topology.SyncedStream, true, "`entitled topology apply`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			huge := r.customer()
			r.large(huge, c.subscriptions)
			ids := r.load(40)
			o := r.operator()
			if c.limited != "" {
				r.limit(c.limited, 100_000)
			}
			report, err := o.Backfill(t.Context(), SweepOptions{})
			if !errors.Is(err, ErrUnwritten) || !strings.Contains(err.Error(), huge.ID) || !strings.Contains(err.Error(), c.advice) {
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
			own := task{customer: huge, lane: stripeevent.Now, subject: m.Subject, seq: m.Sequence, received: m.Time}
			res, err := o.s.protocol.sync(t.Context(), t.Context(), own)
			if done, _ := o.s.failed(t.Context(), own, res.record, err); !done {
				t.Errorf("%v: %s is tried again, want it parked", err, huge)
			}
			recs := r.records(huge)
			if len(recs) == 0 {
				t.Fatalf("%s has no record", huge)
			}
			if last := recs[len(recs)-1]; last.Outcome != Parked || last.Revision != 0 || last.Changed != nil || last.Snapshot != nil {
				t.Errorf("last record %.500s, want one that it was parked and nothing written", last.encode())
			}
		})
	}
}

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
		snap.Metadata["k"] = strings.Repeat("x", n-len(snap.Encode()))
		return snap
	}
	room := int(s.js.Conn().MaxPayload()) - recordRoom
	over := sized(room + 1)
	if _, err := s.WriteSnapshot(t.Context(), c.Key(), over.Encode(), 0); !errors.Is(err, errTooLarge) {
		t.Errorf("a byte too many: %v, want errTooLarge", err)
	}
	largest := sized(room)
	revision, err := s.WriteSnapshot(t.Context(), c.Key(), largest.Encode(), 0)
	if err != nil {
		t.Fatal(err)
	}
	rec := Record{Outcome: Changed, Revision: revision, Snapshot: &largest, Error: strings.Repeat("e", 1000)}
	for range pathsRoom / len(`"access_until",`) {
		rec.Changed = append(rec.Changed, "access_until")
	}
	for range 1000 {
		rec.StripeRequestIDs = append(rec.StripeRequestIDs, "req_A2ZLXtG8YUTDKY")
	}
	if err := s.AppendRecord(t.Context(), c, rec); err != nil {
		t.Errorf("record of %d bytes: %v", len(rec.encode()), err)
	}
}

// What changes in very many places at once is told in fewer words.
func TestChangedPathsAreFew(t *testing.T) {
	t.Parallel()
	before := entitlement.Snapshot{Schema: entitlement.Schema, Customer: "cus_1", Status: "active", Access: true}
	for i := range 2000 {
		before.Subscriptions = append(before.Subscriptions, entitlement.Subscription{ID: fmt.Sprintf("sub_%d", i), Status: "active"})
	}
	next := before
	next.Status, next.Access = "canceled", false
	next.Subscriptions = slices.Clone(before.Subscriptions)
	for _, c := range []struct {
		changes int
		want    []string
	}{
		{0, []string{"access", "status"}},
		{1, []string{"access", "status", "subscriptions.sub_0.status"}},
		{2000, []string{"access", "status", "subscriptions"}},
	} {
		for i := range c.changes {
			next.Subscriptions[i].Status = "canceled"
		}
		if diff := cmp.Diff(c.want, changedPaths(&before, &next)); diff != "" {
			t.Errorf("%d subscriptions (-want +got):\n%s", c.changes, diff)
		}
	}
}
