package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// post stores an event as ingest does, without its marker.
func (r *rig) post(id, account, customer, typ string) {
	r.Helper()
	if account != "" {
		account = fmt.Sprintf(`"account":%q,`, account)
	}
	object := "{}"
	if customer != "" {
		object = fmt.Sprintf(`{"customer":%q}`, customer)
	}
	body := fmt.Sprintf(`{"id":%q,"object":"event","type":%q,%s"livemode":false,"data":{"object":%s}}`, id, typ, account, object)
	if err := store(r.Context(), r.js, []byte(body), false); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) ids(s audit.Slice, o audit.EventsOptions) []string {
	r.Helper()
	list := []string{}
	s.Mode = entitlement.Test
	if err := r.log.Events(r.Context(), s, o, func(e *audit.Event) error { list = append(list, e.ID); return nil }); err != nil {
		r.Fatal(err)
	}
	return list
}

func TestSlices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("evt_1", "", "cus_a", "invoice.paid")
	r.post("evt_2", "", "cus_b", "customer.subscription.updated")
	between := time.Now()
	r.post("evt_3", "acct_1", "cus_a", "invoice.payment_failed")
	r.post("evt_4", "", "", "product.updated")
	r.post("evt_5", "", "cus_a", "customer.subscription.deleted")
	for _, tc := range []struct {
		name  string
		slice audit.Slice
		want  string
	}{
		{"all", audit.Slice{}, "evt_1 evt_2 evt_3 evt_4 evt_5"},
		{"customer", audit.Slice{Customer: "cus_a"}, "evt_1 evt_3 evt_5"},
		{"own customer", audit.Slice{Customer: "cus_a", Account: audit.Own}, "evt_1 evt_5"},
		{"account", audit.Slice{Account: "acct_1"}, "evt_3"},
		{"type", audit.Slice{Types: []string{"invoice.paid"}}, "evt_1"},
		{"types that overlap", audit.Slice{Types: []string{"customer.*", "customer.subscription.*", "invoice.paid"}}, "evt_1 evt_2 evt_5"},
		{"glob inside", audit.Slice{Types: []string{"*.updated", "invoice.paid"}}, "evt_1 evt_2 evt_4"},
		{"since", audit.Slice{Since: between}, "evt_3 evt_4 evt_5"},
		{"until", audit.Slice{Until: between}, "evt_1 evt_2"},
		{"nobody", audit.Slice{Customer: "cus_x"}, ""},
	} {
		if got := strings.Join(r.ids(tc.slice, audit.EventsOptions{}), " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	stored := map[string]time.Time{}
	all := func(e *audit.Event) error { stored[e.ID] = e.StoredAt; return nil }
	if err := r.log.Events(t.Context(), audit.Slice{Mode: entitlement.Test}, audit.EventsOptions{}, all); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name        string
		slice       audit.Slice
		first, last string // "" for none
	}{
		{"all", audit.Slice{}, "evt_1", "evt_5"},
		{"of whatever types and times", audit.Slice{Customer: "cus_a", Types: []string{"invoice.void"}, Until: between}, "evt_1", "evt_5"},
		{"account", audit.Slice{Account: "acct_1"}, "evt_3", "evt_3"},
		{"nobody", audit.Slice{Customer: "cus_x"}, "", ""},
		{"another mode", audit.Slice{Mode: entitlement.Live}, "", ""},
	} {
		if tc.slice.Mode == "" {
			tc.slice.Mode = entitlement.Test
		}
		first, last, err := r.log.Extent(t.Context(), tc.slice)
		if err != nil || !first.Equal(stored[tc.first]) || !last.Equal(stored[tc.last]) {
			t.Errorf("extent of %s: %v to %v (%v), want %v to %v", tc.name, first, last, err, stored[tc.first], stored[tc.last])
		}
	}
	err := r.log.Events(t.Context(), audit.Slice{Mode: entitlement.Test, Types: []string{"Invoice"}}, audit.EventsOptions{}, func(*audit.Event) error { return nil })
	if err == nil {
		t.Error("a bad glob is taken")
	}
}

func TestFollowGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("evt_1", "", "cus_a", "invoice.paid")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	err := r.log.Events(ctx, audit.Slice{Mode: entitlement.Test}, audit.EventsOptions{Follow: true}, func(e *audit.Event) error {
		if got = append(got, e.ID); len(got) == 1 {
			r.post("evt_2", "", "cus_b", "invoice.paid")
		} else {
			cancel()
		}
		return nil
	})
	if d := cmp.Diff([]string{"evt_1", "evt_2"}, got); d != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestDamageShows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("evt_1", "", "cus_a", "invoice.paid")
	_, err := r.js.PublishMsg(t.Context(), &nats.Msg{
		Subject: "stripe.event.test.self.cus_a.invoice.paid", Data: []byte(`{"id":"evt_2"}`),
		Header: nats.Header{stripeevent.DigestHeader: {stripeevent.BodyDigest([]byte(`{"id":"evt_1"}`))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var intact []bool
	err = r.log.Events(t.Context(), audit.Slice{Mode: entitlement.Test}, audit.EventsOptions{Bodies: true}, func(e *audit.Event) error {
		intact = append(intact, e.Intact())
		return nil
	})
	if d := cmp.Diff([]bool{true, false}, intact); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// Replay marks each customer of a slice once; rebuild those without an entry, and nobody who was forgotten.
func TestReplayAndRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.start()
	first, _ := r.buy()
	second, _ := r.buy()
	r.settle()
	stop()
	n, _, dirty, err := r.log.Dirty(t.Context(), audit.Slice{Mode: entitlement.Test, Types: []string{"invoice.paid"}}, nil)
	if err != nil || n != 2 || dirty.Len() != 2 {
		t.Fatalf("%d events, %d customers (%v), want 2 and 2", n, dirty.Len(), err)
	}
	missing := func() int {
		t.Helper()
		set, err := r.log.Missing(t.Context(), entitlement.Test, marks())
		if err != nil {
			t.Fatal(err)
		}
		return set.Len()
	}
	if n := missing(); n != 0 {
		t.Errorf("%d customers missing of a full bucket", n)
	}
	bucket, err := r.js.Stream(t.Context(), "KV_"+entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.log.Forget(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	set, err := r.log.Missing(t.Context(), entitlement.Test, marks())
	if err != nil || set.Len() != 1 {
		t.Fatalf("%d missing (%v), want the one that was not forgotten", set.Len(), err)
	}
	if marked, err := r.log.Mark(t.Context(), set, stripeevent.Bulk, stripeevent.TriggerReplay, nil); marked != 1 || err != nil {
		t.Fatalf("marked %d (%v), want 1", marked, err)
	}
	r.start()
	r.settle()
	if n := missing(); n != 0 {
		t.Errorf("%d still missing after the rebuild", n)
	}
	if s := r.story(first); s.Now.Snapshot == nil || !s.Now.Snapshot.Access || s.Now.NextLook == nil {
		t.Errorf("restored: %+v, want access and a next check", s.Now)
	}
}

func TestMarkStops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var set audit.Customers
	for i := range 3000 {
		set.Add(stripeevent.Customer{Mode: entitlement.Test, ID: fmt.Sprintf("cus_%d", i)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	n, err := r.log.Mark(ctx, &set, stripeevent.Bulk, stripeevent.TriggerReplay, func(n int) {
		if n == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || n < 10 || n >= 3000 {
		t.Errorf("marked %d (%v), want some, and that it was interrupted", n, err)
	}
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	if has := stream.CachedInfo().State.Msgs; has != uint64(n) {
		t.Errorf("%d markers are stored, %d were counted", has, n)
	}
}

// Nothing of a forgotten customer is left but that it was forgotten; its neighbour is untouched.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.start()
	c, sub := r.buy()
	neighbour, _ := r.buy()
	r.settle()
	r.refuse(c)
	if err := r.sim.CancelAtPeriodEnd(sub); err != nil {
		t.Fatal(err)
	}
	r.settle()
	stop()
	r.mark(c, stripeevent.TriggerReplay)
	had, err := r.log.Remembered(t.Context(), c)
	if err != nil || had.Events == 0 || had.Records < 2 || had.Markers != 2 || had.Entries < 2 {
		t.Fatalf("remembered %+v (%v), want events, records, a marker with the check, the snapshot with the failure", had, err)
	}
	erased, err := r.log.Forget(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(had, erased); d != "" {
		t.Errorf("erased (-remembered +erased):\n%s", d)
	}
	if left, err := r.log.Remembered(t.Context(), c); err != nil || !left.Zero() {
		t.Errorf("left %+v (%v), want nothing", left, err)
	}
	s := r.story(c)
	if list := syncs(s); len(s.Steps) != 1 || len(list) != 1 || !list[0].Forgotten || s.Now.Snapshot != nil {
		t.Errorf("story %+v, want that it was forgotten and no more", s)
	}
	if told := s.Told(time.Now().Add(-time.Hour)); told.Known {
		t.Errorf("told of before: %+v, want unknown", told)
	}
	if left, err := r.log.Remembered(t.Context(), neighbour); err != nil || left.Events == 0 || left.Entries == 0 {
		t.Errorf("neighbour: %+v (%v), want all of it", left, err)
	}
}

// The record that a customer was forgotten is its oldest and says when that was last, for recovery goes by it. A claim of the pace, which is of
// no mode, is nothing to be forgotten.
func TestForgetAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_a"}
	pace, err := r.js.KeyValue(t.Context(), topology.PaceBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pace.Put(t.Context(), c.Key(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if had, err := r.log.Remembered(t.Context(), c); err != nil || !had.Zero() {
		t.Errorf("remembered of a claim: %+v, %v", had, err)
	}
	var began time.Time
	for i := range 2 {
		r.post(fmt.Sprintf("evt_%d", i), "", c.ID, "invoice.paid")
		began = time.Now()
		if erased, err := r.log.Forget(t.Context(), c); err != nil || erased != (audit.Erased{Events: 1}) {
			t.Errorf("forgot %+v: %v", erased, err)
		}
	}
	if at := r.forgotten(c); at.Before(began.Truncate(time.Second)) || at.After(time.Now()) {
		t.Errorf("the oldest record says %s, want the second time, from %s on", at, began)
	}
	if _, err := pace.Get(t.Context(), c.Key()); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the claim: %v", err)
	}
}

// forgotten is when the customer was forgotten, as its oldest record says, zero if it does not.
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

// A fuse ends a context when it has been asked for its end so often: it interrupts what asks at each of its steps in turn.
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

// Wherever forgetting is interrupted, either the events are left, so that who says it again is not told that there is nothing, or the
// oldest record says that the customer was forgotten. Without that, recovery brings back what was erased.
func TestForgetInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bucket, err := r.js.KeyValue(t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	for step := int32(1); ; step++ {
		c := stripeevent.Customer{Mode: entitlement.Test, ID: fmt.Sprintf("cus_%d", step)}
		before := &nats.Msg{Subject: stripeevent.SyncedSubject(c), Data: []byte("{}"), Header: nats.Header{stripeevent.ForgottenHeader: {"2026-01-01T00:00:00Z"}}}
		if _, err := r.js.PublishMsg(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		r.post(fmt.Sprintf("evt_%d", step), "", c.ID, "invoice.paid")
		r.mark(c, stripeevent.TriggerReplay)
		if _, err := bucket.Put(t.Context(), c.Key(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), stripeevent.SyncedSubject(c), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		began := time.Now().Truncate(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		f := &fuse{Context: ctx, blow: cancel}
		f.left.Store(step)
		_, interrupted := r.log.Forget(f, c)
		cancel()
		left, err := r.log.Remembered(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if at := r.forgotten(c); left.Events == 0 && at.Before(began) {
			t.Errorf("interrupted at step %d (%v): %+v is left of the customer, and its oldest record says forgotten at %s", step, interrupted, left, at)
		}
		if _, err := r.log.Forget(t.Context(), c); err != nil || r.forgotten(c).Before(began) {
			t.Errorf("said again after step %d: %v, and the oldest record says forgotten at %s", step, err, r.forgotten(c))
		}
		if interrupted == nil {
			return
		}
	}
}

func TestNoPipeline(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(natstest.Run(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(t.Context(), js); !errors.Is(err, audit.ErrNoPipeline) {
		t.Errorf("%v, want ErrNoPipeline", err)
	}
}
