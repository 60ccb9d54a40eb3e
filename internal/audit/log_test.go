package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/forget"
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
	body := fmt.Sprintf(`{"id":%q,"object":"event","type":%q,%s"livemode":false,"data":{"object":%s}}`,
		id, typ, account, object)
	if err := store(r.Context(), r.js, []byte(body), false); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) ids(s audit.Slice, o audit.EventsOptions) []string {
	r.Helper()
	list := []string{}
	s.Mode = entitlement.Test
	if err := r.log.Events(r.Context(), s, o,
		func(e *audit.Event) error { list = append(list, e.ID); return nil }); err != nil {
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
		{"customer", audit.Slice{Customers: []string{"cus_a"}}, "evt_1 evt_3 evt_5"},
		{"own customer", audit.Slice{Customers: []string{"cus_a"}, Account: audit.Own}, "evt_1 evt_5"},
		{"account", audit.Slice{Account: "acct_1"}, "evt_3"},
		{"type", audit.Slice{Types: []string{"invoice.paid"}}, "evt_1"},
		{"types that overlap", audit.Slice{Types: []string{"customer.*", "customer.subscription.*", "invoice.paid"}},
			"evt_1 evt_2 evt_5"},
		{"glob inside", audit.Slice{Types: []string{"*.updated", "invoice.paid"}}, "evt_1 evt_2 evt_4"},
		{"since", audit.Slice{Since: between}, "evt_3 evt_4 evt_5"},
		{"until", audit.Slice{Until: between}, "evt_1 evt_2"},
		{"no customer", audit.Slice{Customers: []string{"cus_x"}}, ""},
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
		{"of whatever types and times", audit.Slice{Customers: []string{"cus_a"}, Types: []string{"invoice.void"}, Until: between},
			"evt_1", "evt_5"},
		{"account", audit.Slice{Account: "acct_1"}, "evt_3", "evt_3"},
		{"no customer", audit.Slice{Customers: []string{"cus_x"}}, "", ""},
		{"another mode", audit.Slice{Mode: entitlement.Live}, "", ""},
	} {
		if tc.slice.Mode == "" {
			tc.slice.Mode = entitlement.Test
		}
		first, last, err := r.log.Extent(t.Context(), tc.slice)
		if err != nil || !first.Equal(stored[tc.first]) || !last.Equal(stored[tc.last]) {
			t.Errorf("extent of %s: %v to %v (%v), want %v to %v",
				tc.name, first, last, err, stored[tc.first], stored[tc.last])
		}
	}
	err := r.log.Events(t.Context(), audit.Slice{Mode: entitlement.Test, Types: []string{"Invoice"}},
		audit.EventsOptions{}, func(*audit.Event) error { return nil })
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
	err := r.log.Events(ctx, audit.Slice{Mode: entitlement.Test}, audit.EventsOptions{Follow: true},
		func(e *audit.Event) error {
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
	err = r.log.Events(t.Context(), audit.Slice{Mode: entitlement.Test}, audit.EventsOptions{Bodies: true},
		func(e *audit.Event) error {
			intact = append(intact, e.Intact())
			return nil
		})
	if d := cmp.Diff([]bool{true, false}, intact); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// Replay marks each customer of a slice once; rebuild those without an entry, and none that was
// forgotten.
func TestReplayAndRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.start()
	first, _ := r.buy()
	second, _ := r.buy()
	r.settle()
	stop()
	n, _, dirty, err := r.log.Dirty(t.Context(), audit.Slice{Mode: entitlement.Test, Types: []string{"invoice.paid"}},
		nil)
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
	if _, err := forget.Erase(t.Context(), r.js, second); err != nil {
		t.Fatal(err)
	}
	set, err := r.log.Missing(t.Context(), entitlement.Test, marks())
	if err != nil || set.Len() != 1 {
		t.Fatalf("%d missing (%v), want the one that was not forgotten", set.Len(), err)
	}
	if marked, err := r.log.Mark(t.Context(), set, stripeevent.Bulk, stripeevent.TriggerReplay, nil); marked != 1 ||
		err != nil {
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

// A NATS that was restarted without a syncer has no bucket stripe_pace, because it is in memory.
// The history is still read.
func TestStoryWithoutThePace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("evt_1", "", "cus_a", "invoice.paid")
	if err := r.js.DeleteKeyValue(t.Context(), topology.PaceBucket); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.log, err = audit.Open(t.Context(), r.js); err != nil {
		t.Fatal(err)
	}
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_a"}
	if s := r.story(c); len(s.Steps) != 1 {
		t.Errorf("story %+v, want the event", s)
	}
}

func TestNoPipeline(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(natstest.Run(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(t.Context(), js); !errors.Is(err, topology.ErrNoPipeline) {
		t.Errorf("%v, want ErrNoPipeline", err)
	}
}
