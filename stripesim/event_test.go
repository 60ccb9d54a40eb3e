package stripesim_test

import (
	"slices"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func eventIDs(b *bench, p *stripe.EventListParams) []string {
	out := []string{}
	it := b.api.Events.List(p)
	for it.Next() {
		out = append(out, it.Event().ID)
	}
	must(0, it.Err())
	return out
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	b.subscribe(b.customer("cus_a"), "price_pro")
	b.Advance(time.Hour)
	must(0, b.UpdateCustomer("cus_a", map[string]string{"k": "v"}))
	var all, updated []string
	for _, e := range b.Events() {
		all = append(all, e.ID)
		if e.Type == "customer.updated" {
			updated = append(updated, e.ID)
		}
	}
	newest := slices.Clone(all)
	slices.Reverse(newest)
	if got := eventIDs(b, &stripe.EventListParams{}); !slices.Equal(got, newest) {
		t.Errorf("all: %d, want %d newest first", len(got), len(newest))
	}
	before := stripe.ListParams{EndingBefore: stripe.String(all[4]), Limit: stripe.Int64(3)}
	if got := eventIDs(b, &stripe.EventListParams{ListParams: before}); !slices.Equal(got, all[5:]) {
		t.Errorf("since an event: %d, want %d in order", len(got), len(all)-5)
	}
	slices.Reverse(updated)
	ofTypes := func(types ...string) []string {
		return eventIDs(b, &stripe.EventListParams{Types: stripe.StringSlice(types)})
	}
	if got := ofTypes("customer.updated"); !slices.Equal(got, updated) {
		t.Errorf("by types: %v, want %v", got, updated)
	}
	p := &stripe.EventListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: start.Unix() + 1}}
	if got := eventIDs(b, p); len(got) != 1 || got[0] != updated[0] {
		t.Errorf("by time: %v", got)
	}
	if e := must(b.api.Events.Get(all[0], nil)); e.Type != "product.created" {
		t.Errorf("first event %s", e.Type)
	}
	b.Advance(30*24*time.Hour - time.Hour)
	if got := ofTypes("product.created"); len(got) != 4 {
		t.Errorf("on day 30 there are %d", len(got))
	}
	b.Advance(time.Second)
	if got := ofTypes("product.created"); len(got) != 0 {
		t.Errorf("after 30 days there are %d", len(got))
	}
	_, err := b.api.Events.Get(all[0], nil)
	if se := stripeError(t, err); se.HTTPStatusCode != 404 {
		t.Errorf("old event: %v", se)
	}
}

func TestEventsAppearLate(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	before := len(eventIDs(b, &stripe.EventListParams{}))
	b.SetFaults(stripesim.Faults{EventsLag: stripesim.Range{Min: 20 * time.Millisecond, Max: 60 * time.Millisecond}})
	begin := time.Now()
	b.customer("cus_a")
	if n := len(eventIDs(b, &stripe.EventListParams{})); n != before && time.Since(begin) < 20*time.Millisecond {
		t.Errorf("%d events at once, want %d", n, before)
	}
	for len(eventIDs(b, &stripe.EventListParams{})) < before+3 {
		if time.Since(begin) > time.Minute {
			t.Fatal("they never appear")
		}
	}
	if time.Since(begin) < 20*time.Millisecond {
		t.Error("they appeared too soon")
	}
}

func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{KeepEvents: 20})
	for range 50 {
		must(b.CreateCustomer(stripesim.CustomerParams{NoPaymentMethod: true}))
	}
	if n := len(b.Events()); n < 20 || n > 26 {
		t.Errorf("kept %d, want 20 or a few more", n)
	}
}
