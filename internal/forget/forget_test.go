// Tests of this package that need a syncer and a backfill are in internal/audit/forget_test.go.
package forget_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/forget"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A rig is a NATS server with the streams and buckets of a pipeline.
type rig struct {
	*testing.T
	js jetstream.JetStream
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t}
	var err error
	if r.js, err = jetstream.New(natstest.Run(t).Conn(t), jetstream.WithDefaultTimeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context(), r.js, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) publish(subject, body string, header nats.Header) {
	r.Helper()
	if _, err := r.js.PublishMsg(r.Context(),
		&nats.Msg{Subject: subject, Data: []byte(body), Header: header}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) put(bucket, key string) {
	r.Helper()
	kv, err := r.js.KeyValue(r.Context(), bucket)
	if err == nil {
		_, err = kv.Put(r.Context(), key, []byte("{}"))
	}
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) erase(c stripeevent.Customer, want forget.Amounts) {
	r.Helper()
	if erased, err := forget.Erase(r.Context(), r.js, c); err != nil || erased != want {
		r.Errorf("erased %+v (%v), want %+v", erased, err, want)
	}
}

func customer(id string) stripeevent.Customer {
	return stripeevent.Customer{Mode: entitlement.Test, ID: id}
}

// fill stores something of the customer at every place that [forget.Amounts] counts, but no page.
func (r *rig) fill(c stripeevent.Customer) forget.Amounts {
	r.Helper()
	r.publish(stripeevent.EventSubject(c, "invoice.paid"), "{}", nil)
	r.publish(stripeevent.EventSubject(c, "customer.updated"), "{}", nil)
	r.publish(stripeevent.SyncedSubject(c), "{}", nil)
	r.publish(stripeevent.SyncSubject(stripeevent.Now, c), "{}", nil)
	r.publish(stripeevent.SyncSubject(stripeevent.Bulk, c), "{}", nil)
	r.put(entitlement.Bucket(c.Mode), c.Key())
	r.put(topology.StateBucket, stripeevent.ParkedKey(c))
	return forget.Amounts{Events: 2, Records: 1, Markers: 2, Entries: 2}
}

// Each customer is erased and counted alone: not one whose id begins alike, nor one of another
// account or mode.
func TestErase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	others := []stripeevent.Customer{
		customer("cus_ab"), {Mode: entitlement.Live, ID: "cus_a"},
		{Mode: entitlement.Test, Account: "acct_1", ID: "cus_a"},
	}
	for _, c := range []stripeevent.Customer{customer("cus_a"),
		{Mode: entitlement.Test, Account: "acct_2", ID: "cus_a"}} {
		want := r.fill(c)
		if had, err := forget.Count(t.Context(), r.js, c); err != nil || had != want {
			t.Errorf("%s: counted %+v (%v), want %+v", c, had, err, want)
		}
		for _, other := range others {
			r.erase(other, forget.Amounts{})
		}
		r.erase(c, want)
		if left, err := forget.Count(t.Context(), r.js, c); err != nil || !left.Zero() {
			t.Errorf("%s: left %+v (%v), want nothing", c, left, err)
		}
	}
}

// The record that a customer was forgotten is its oldest record, and has the time of the last
// erasure, because recovery compares that with Stripe's. A claim does not count, and is removed.
func TestEraseAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := customer("cus_a")
	r.put(topology.PaceBucket, c.Key())
	if had, err := forget.Count(t.Context(), r.js, c); err != nil || !had.Zero() {
		t.Errorf("counted a claim: %+v, %v", had, err)
	}
	var began time.Time
	for range 2 {
		r.publish(stripeevent.EventSubject(c, "invoice.paid"), "{}", nil)
		began = time.Now()
		r.erase(c, forget.Amounts{Events: 1})
	}
	if at := r.forgotten(c); at.Before(began.Truncate(time.Second)) || at.After(time.Now()) {
		t.Errorf("the oldest record says %s, want the second time, from %s on", at, began)
	}
	pace, err := r.js.KeyValue(t.Context(), topology.PaceBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pace.Get(t.Context(), c.Key()); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the claim: %v", err)
	}
}

// A NATS that was restarted without a syncer has no bucket stripe_pace, because it is in memory.
// The customer is erased from the others.
func TestEraseWithoutThePace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := customer("cus_a")
	r.publish(stripeevent.EventSubject(c, "invoice.paid"), "{}", nil)
	if err := r.js.DeleteKeyValue(t.Context(), topology.PaceBucket); err != nil {
		t.Fatal(err)
	}
	r.erase(c, forget.Amounts{Events: 1})
}

// A mode without a syncer has no bucket of snapshots.
func TestEraseWithoutSnapshots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := customer("cus_a")
	r.publish(stripeevent.EventSubject(c, "invoice.paid"), "{}", nil)
	if err := r.js.DeleteKeyValue(t.Context(), entitlement.Bucket(c.Mode)); err != nil {
		t.Fatal(err)
	}
	r.erase(c, forget.Amounts{Events: 1})
}

func TestNoPipeline(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(natstest.Run(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forget.Count(t.Context(), js, customer("cus_a")); !errors.Is(err, topology.ErrNoPipeline) {
		t.Errorf("count: %v, want ErrNoPipeline", err)
	}
	if _, err := forget.Erase(t.Context(), js, customer("cus_a")); !errors.Is(err, topology.ErrNoPipeline) {
		t.Errorf("erase: %v, want ErrNoPipeline", err)
	}
}

// forgotten returns when the customer was forgotten, by its oldest record; the zero time if that
// record is of a sync, or there is none.
func (r *rig) forgotten(c stripeevent.Customer) time.Time {
	r.Helper()
	synced, err := r.js.Stream(r.Context(), topology.SyncedStream)
	if err != nil {
		r.Fatal(err)
	}
	m, err := synced.GetMsg(r.Context(), 1, jetstream.WithGetMsgSubject(stripeevent.SyncedSubject(c)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}
	}
	if err != nil {
		r.Fatal(err)
	}
	at, _ := time.Parse(time.RFC3339, m.Header.Get(stripeevent.ForgottenHeader))
	return at
}

// A fuse is canceled by the call of Done that brings left to 0. Code that passes it to NATS is so
// interrupted at any of its steps.
type fuse struct {
	context.Context
	left atomic.Int32
	blow context.CancelFunc
}

func (f *fuse) Done() <-chan struct{} {
	if f.left.Add(-1) == 0 {
		f.blow()
	}
	return f.Context.Done()
}

// Wherever Erase is interrupted, either events are left, so that the next Count finds the customer,
// or the customer's oldest record says that it was forgotten. Without both, recovery would bring
// back what was erased.
func TestEraseInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for step := int32(1); ; step++ {
		c := customer(fmt.Sprintf("cus_%d", step))
		r.publish(stripeevent.SyncedSubject(c), "{}",
			nats.Header{stripeevent.ForgottenHeader: {"2026-01-01T00:00:00Z"}})
		r.fill(c)
		began := time.Now().Truncate(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		f := &fuse{Context: ctx, blow: cancel}
		f.left.Store(step)
		_, interrupted := forget.Erase(f, r.js, c)
		cancel()
		left, err := forget.Count(t.Context(), r.js, c)
		if err != nil {
			t.Fatal(err)
		}
		if at := r.forgotten(c); left.Events == 0 && at.Before(began) {
			t.Errorf("interrupted at step %d (%v): %+v is left of the customer, and its oldest record says forgotten "+
				"at %s", step, interrupted, left, at)
		}
		if _, err := forget.Erase(t.Context(), r.js, c); err != nil || r.forgotten(c).Before(began) {
			t.Errorf("erased again after step %d: %v, and the oldest record says forgotten at %s",
				step, err, r.forgotten(c))
		}
		if interrupted == nil {
			t.Logf("interrupted at %d steps", step-1)
			return
		}
	}
}
