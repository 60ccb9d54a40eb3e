package stripesim_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func newCustomer(id, key string) *stripe.CustomerParams {
	p := &stripe.CustomerParams{Metadata: map[string]string{"user_id": id}}
	if key != "" {
		p.IdempotencyKey = &key
	}
	return p
}

func TestCustomersAreWritten(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	p := newCustomer("42", "k1")
	p.Email, p.Name, p.Description = stripe.String("a@b.example"), stripe.String("Amy"), stripe.String("a note")
	c := must(b.api.Customers.New(p))
	if c.Metadata["user_id"] != "42" || c.Email != "a@b.example" || c.Description != "a note" {
		t.Fatalf("the new customer is %+v", c)
	}
	change := &stripe.CustomerParams{Email: stripe.String("c@d.example")}
	change.AddMetadata("user_id", "")
	change.AddMetadata("team", "x")
	c = must(b.api.Customers.Update(c.ID, change))
	if len(c.Metadata) != 1 || c.Metadata["team"] != "x" || c.Email != "c@d.example" || c.Name != "Amy" {
		t.Fatalf("the changed customer is %+v", c)
	}
	if got := must(b.api.Customers.Get(c.ID, nil)); got.Email != "c@d.example" {
		t.Errorf("read: %+v", got)
	}
	if gone := must(b.api.Customers.Del(c.ID, nil)); !gone.Deleted {
		t.Error("the customer is not deleted")
	}
	_, err := b.api.Customers.Update(c.ID, change)
	if se := stripeError(t, err); se.HTTPStatusCode != 404 || se.Code != stripe.ErrorCodeResourceMissing {
		t.Errorf("update of a deleted customer: %v", se)
	}
	want := []string{"customer.created", "customer.updated", "customer.deleted"}
	others := func(k string) bool { return !strings.HasPrefix(k, "customer.") }
	if got := slices.DeleteFunc(b.kinds(), others); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}
	event := must(b.api.Events.Get(b.lastEvent("customer.created"), nil))
	if event.Request.IdempotencyKey != "k1" || event.Request.ID == "" {
		t.Errorf("the event's request is %+v", event.Request)
	}
	for want, p := range map[string]*stripe.CustomerParams{
		"email":    {Email: stripe.String("nobody")},
		"metadata": {Metadata: map[string]string{"k": strings.Repeat("x", 501)}},
		"shipping": {Shipping: &stripe.CustomerShippingParams{Name: stripe.String("x")}},
	} {
		_, err := b.api.Customers.New(p)
		if se := stripeError(t, err); se.HTTPStatusCode != 400 || !strings.HasPrefix(se.Param, want) {
			t.Errorf("%s: %v", want, se)
		}
	}
}

// lastEvent returns the id of the newest event of a type.
func (b *bench) lastEvent(kind string) (id string) {
	for _, e := range b.Events() {
		if e.Type == kind {
			id = e.ID
		}
	}
	return id
}

// count returns the number of customers that are not deleted.
func (b *bench) count() (n int) {
	for _, c := range b.Customers() {
		if !c.Deleted {
			n++
		}
	}
	return n
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	first := must(b.api.Customers.New(newCustomer("42", "k")))
	again := must(b.api.Customers.New(newCustomer("42", "k")))
	if again.ID != first.ID || b.count() != 1 {
		t.Fatalf("the same key made %s and %s, %d customers", first.ID, again.ID, b.count())
	}
	if h := again.LastResponse.Header; h.Get("Idempotent-Replayed") != "true" ||
		h.Get("Original-Request") != first.LastResponse.RequestID {
		t.Errorf("header of the replay: %v", h)
	}
	// The saved answer shows the customer as it was.
	must(b.api.Customers.Del(first.ID, nil))
	if again := must(b.api.Customers.New(newCustomer("42", "k"))); again.Deleted || again.ID != first.ID {
		t.Errorf("replay of a deleted customer: %+v", again)
	}
	_, err := b.api.Customers.New(newCustomer("43", "k"))
	if se := stripeError(t, err); se.HTTPStatusCode != 400 || se.Type != "idempotency_error" {
		t.Errorf("another body: %v", se)
	}
	_, err = b.api.Customers.Update("cus_x", newCustomer("42", "k"))
	if se := stripeError(t, err); se.HTTPStatusCode != 400 || se.Type != "idempotency_error" {
		t.Errorf("another path: %v", se)
	}
	b.Advance(24*time.Hour - time.Second)
	if c := must(b.api.Customers.New(newCustomer("42", "k"))); c.ID != first.ID {
		t.Error("the key is forgotten within a day")
	}
	b.Advance(time.Second)
	if c := must(b.api.Customers.New(newCustomer("42", "k"))); c.ID == first.ID {
		t.Error("the key is kept longer than a day")
	}
}

// What is saved depends on whether the execution had begun.
func TestFaultsOfWrites(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		faults  stripesim.Faults
		status  int // of the answer with the fault; 0 is a reset
		again   int // of the same key without it
		created int
	}{
		"500 before":   {stripesim.Faults{Error500: 1}, 500, 500, 0},
		"500 after":    {stripesim.Faults{Error500After: 1}, 500, 500, 1},
		"reset before": {stripesim.Faults{Reset: 1}, 0, 200, 1},
		"reset after":  {stripesim.Faults{ResetAfter: 1}, 0, 200, 1},
		"truncated":    {stripesim.Faults{Truncate: 1}, 200, 200, 1},
		"503":          {stripesim.Faults{Error503: 1}, 503, 200, 1},
		"409":          {stripesim.Faults{Error409: 1}, 409, 200, 1},
		"429":          {stripesim.Faults{RateLimited: 1}, 429, 200, 1},
		"lock":         {stripesim.Faults{LockTimeout: 1}, 429, 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, stripesim.Config{Seed: 1})
			b.SetFaults(tc.faults)
			_, err := b.api.Customers.New(newCustomer("42", "k"))
			if err == nil {
				t.Fatal("no error")
			}
			reqs := b.Requests()
			if got := reqs[len(reqs)-1].Status; got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
			b.SetFaults(stripesim.Faults{})
			_, _ = b.api.Customers.New(newCustomer("42", "k"))
			reqs = b.Requests()
			if got := reqs[len(reqs)-1].Status; got != tc.again || b.count() != tc.created {
				t.Errorf("then status %d and %d customers, want %d and %d", got, b.count(), tc.again, tc.created)
			}
		})
	}
}

func TestKeyInFlight(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	held := b.Hold(func(r *stripesim.Request) bool { return r.Endpoint == "POST /v1/customers" })
	defer held.Release()
	done := make(chan error, 1)
	go func() {
		_, err := b.api.Customers.New(newCustomer("42", "k"))
		done <- err
	}()
	must(held.Wait(soon(t)))
	_, err := b.api.Customers.New(newCustomer("42", "k"))
	if se := stripeError(t, err); se.HTTPStatusCode != http.StatusConflict || se.Code != "idempotency_key_in_use" {
		t.Errorf("while the first is in flight: %v", se)
	}
	held.Release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	must(b.api.Customers.New(newCustomer("42", "k")))
	if b.count() != 1 {
		t.Errorf("%d customers", b.count())
	}
}

func (b *bench) search(query string) (ids []string, err error) {
	p := &stripe.CustomerSearchParams{SearchParams: stripe.SearchParams{Query: query, Limit: stripe.Int64(2)}}
	it := b.api.Customers.Search(p)
	for it.Next() {
		ids = append(ids, it.Customer().ID)
	}
	return ids, it.Err()
}

func TestSearchLags(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	find := func(query string, want ...string) {
		t.Helper()
		if got, err := b.search(query); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", query, got, err, want)
		}
	}
	c := must(b.api.Customers.New(newCustomer("User-42", "")))
	const byID = `metadata['user_id']:'user-42'`
	find(byID)
	b.Advance(59 * time.Second)
	find(byID)
	b.Advance(time.Second)
	find(byID, c.ID) // without case
	must(b.api.Customers.Update(c.ID, newCustomer("other", "")))
	find(byID, c.ID)
	must(b.api.Customers.Del(c.ID, nil))
	find(byID, c.ID)
	b.Advance(time.Minute)
	find(byID)
	find(`metadata['user_id']:'other'`)

	var all []string
	for i := range 5 {
		all = append(all, must(b.api.Customers.New(newCustomer(fmt.Sprint("n", i), ""))).ID)
	}
	b.Advance(time.Minute)
	slices.Reverse(all)
	find(`created>0`, all...) // over three pages
	_, err := b.search(`user_id:'x'`)
	if se := stripeError(t, err); se.HTTPStatusCode != 400 || se.Param != "query" {
		t.Errorf("an unknown field: %v", se)
	}
}
