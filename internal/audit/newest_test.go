package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/topology"
)

// newest returns the ids of a slice page by page, and how many pages there were.
func (r *rig) newest(s audit.Slice, limit int) (ids string, pages int) {
	r.Helper()
	s.Mode = entitlement.Test
	var list []string
	for before := uint64(0); ; pages++ {
		found, err := r.log.Newest(r.Context(), s, before, limit)
		if err != nil || len(found.Events) > limit {
			r.Fatalf("%d events before %d: %v", len(found.Events), before, err)
		}
		for _, e := range found.Events {
			if !s.Has(&e) {
				r.Errorf("%+v is not of the slice %+v", e, s)
			}
			list = append(list, e.ID)
		}
		if before = found.Next; before == 0 {
			return strings.Join(list, " "), pages + 1
		}
	}
}

// From the newest back, page by page, a slice has the events that it has forwards.
func TestNewest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if ids, pages := r.newest(audit.Slice{}, 2); ids != "" || pages != 1 {
		t.Errorf("an empty log has %q in %d pages", ids, pages)
	}
	r.post("evt_1", "", "cus_a", "invoice.paid")
	r.post("evt_2", "", "cus_b", "customer.subscription.updated")
	between := time.Now()
	r.post("evt_3", "acct_1", "cus_a", "invoice.payment_failed")
	r.post("evt_4", "", "", "product.updated")
	r.post("evt_5", "", "cus_a", "customer.subscription.deleted")
	for name, s := range map[string]audit.Slice{
		"all": {}, "customer": {Customers: []string{"cus_a"}},
		"own customer": {Customers: []string{"cus_a"}, Account: audit.Own},
		"account":      {Account: "acct_1"}, "type": {Types: []string{"invoice.paid"}},
		"types that overlap": {Types: []string{"customer.*", "customer.subscription.*", "invoice.paid"}},
		"glob inside":        {Types: []string{"*.updated", "invoice.paid"}},
		"since":              {Since: between}, "until": {Until: between}, "between": {Since: between, Until: between},
		"future": {Since: time.Now().Add(time.Hour)}, "no customer": {Customers: []string{"cus_x"}},
	} {
		want := r.ids(s, audit.EventsOptions{})
		slices.Reverse(want)
		for _, limit := range []int{1, 2, 100} {
			if got, _ := r.newest(s, limit); got != strings.Join(want, " ") {
				t.Errorf("%s, %d a page: %q, want %q", name, limit, got, want)
			}
		}
	}
	bad := audit.Slice{Mode: entitlement.Test, Types: []string{"Invoice"}}
	if _, err := r.log.Newest(t.Context(), bad, 0, 1); err == nil {
		t.Error("a bad glob is taken")
	}
	e, err := r.log.Event(t.Context(), 3)
	if err != nil || e.ID != "evt_3" || e.Customer.Account != "acct_1" || !e.Intact() {
		t.Errorf("event 3 is %+v, %v", e, err)
	}
	for _, seq := range []uint64{0, 6} {
		if _, err := r.log.Event(t.Context(), seq); !errors.Is(err, audit.ErrNoEvent) {
			t.Errorf("event %d: %v", seq, err)
		}
	}
}

// A glob that hardly any event matches does not read the whole log at once: it says how far it looked,
// and goes on from there.
func TestNewestOfRareType(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("evt_rare", "", "cus_a", "x.rare")
	const n = 25_000
	for i := range n {
		subject := fmt.Sprintf("stripe.event.test.self.cus_%d.invoice.paid", i%100)
		if _, err := r.js.PublishAsync(subject, nil); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			<-r.js.PublishAsyncComplete()
		}
	}
	if end, err := r.log.End(t.Context()); err != nil || end != n+1 {
		t.Fatalf("%s ends at %d, %v", topology.EventsStream, end, err)
	}
	s := audit.Slice{Mode: entitlement.Test, Types: []string{"*.rare"}}
	found, err := r.log.Newest(t.Context(), s, 0, 50)
	if err != nil || len(found.Events) != 0 || found.Next == 0 || found.Next > 6000 || found.SearchedTo.IsZero() {
		t.Fatalf("the first page: %+v, %v", found, err)
	}
	found, err = r.log.Newest(t.Context(), s, found.Next, 50)
	if err != nil || len(found.Events) != 1 || found.Next != 0 {
		t.Errorf("the second page: %+v, %v", found, err)
	}
	s.Types = []string{"x.rare"} // a subject of its own
	if found, err = r.log.Newest(t.Context(), s, 0, 50); err != nil || len(found.Events) != 1 || found.Next != 0 {
		t.Errorf("by subject: %+v, %v", found, err)
	}
}
