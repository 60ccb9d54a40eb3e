package stripeapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	mock "github.com/stripe/stripe-mock/server"
)

// newMock returns stripe-mock, which checks paths and parameters against Stripe's OpenAPI
// description.
func newMock(t *testing.T) http.Handler {
	t.Helper()
	spec, err := mock.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := mock.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := mock.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(stub.HandleRequest)
}

// Every request that the client can make is one that Stripe's description allows. The answers come
// from a canned account, since stripe-mock has no state and speaks the newest API version only.
func TestContract(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("one goroutine compares requests with a description")
	}
	stripe := newMock(t)
	allowed := func(r *http.Request) (int, string) {
		w := httptest.NewRecorder()
		stripe.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	forms := map[string]bool{}
	a := &account{
		t:            t,
		entitlements: many(101, func(i int) object { return entitled(fmt.Sprintf("f%03d", i)) }),
		items:        map[string][]object{"sub_0": many(101, func(i int) object { return item("sub_0", i) })},
		customer:     customer(),
	}
	a.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		form := r.URL.Path
		for k := range r.URL.Query() {
			forms[form+" "+k] = true
		}
		forms[form] = true
		if code, body := allowed(r.Clone(r.Context())); code != 200 {
			t.Errorf("GET %s: stripe-mock answers %d %s", r.URL, code, body)
		}
		if r.URL.Path == "/v1/events" {
			answer(w, 200, listOf(false))
			return true
		}
		return false
	}
	c := newClient(t, a, nil).Entitlements(true)
	var p permits
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	_, _, err := c.Fetch(t.Context(), "acct_1", "cus_1", p.take)
	check(err)
	a.subs = many(101, func(i int) object { return sub(fmt.Sprint("sub_", i)) })
	a.subs[0]["items"] = listOf(true, item("sub_0", 0))
	_, _, err = c.Fetch(t.Context(), "", "cus_1", p.take)
	check(err)
	_, _, err = c.ListSubscriptions(t.Context(), "",
		PageQuery{CreatedFrom: 1, CreatedBefore: 2, StartingAfter: "sub_99"}, p.take)
	check(err)
	_, _, err = c.ListEvents(t.Context(), "", EventQuery{CreatedFrom: 1, CreatedBefore: 2, StartingAfter: "evt_1"})
	check(err)

	for _, want := range []string{
		"/v1/subscriptions customer", "/v1/subscriptions starting_after", "/v1/subscriptions expand[1]",
		"/v1/subscriptions created[gte]", "/v1/subscriptions created[lt]", "/v1/subscription_items starting_after",
		"/v1/customers/cus_1",
		"/v1/entitlements/active_entitlements starting_after", "/v1/events created[lt]", "/v1/events starting_after",
	} {
		if !forms[want] {
			t.Errorf("no request had %s", want)
		}
	}

	// That it would notice.
	for _, wrong := range []string{
		"/v1/subscriptions?status=every", "/v1/subscriptions?product=prod_1", "/v1/subscriptions?limit=many",
		"/v1/entitlements/active_entitlements", "/v1/events?delivery_success=perhaps", "/v1/subscribers",
	} {
		r := httptest.NewRequest(http.MethodGet, wrong, nil)
		r.Header.Set("Authorization", "Bearer "+testKey)
		if code, _ := allowed(r); code == 200 {
			t.Errorf("stripe-mock takes GET %s", wrong)
		}
	}
}
