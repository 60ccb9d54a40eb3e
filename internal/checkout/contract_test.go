package checkout

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	mock "github.com/stripe/stripe-mock/server"

	"entitled/stripesim"
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

// Every request of this package is one that Stripe's description allows. The answers come from the
// simulator, since stripe-mock has no state.
func TestContract(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("one goroutine compares requests with a description")
	}
	stripe := newMock(t)
	allowed := func(req *http.Request, body []byte) (int, string) {
		w := httptest.NewRecorder()
		copied := httptest.NewRequest(req.Method, req.URL.RequestURI(), bytes.NewReader(body))
		copied.Header = req.Header.Clone()
		copied.Header.Set("Authorization", "Bearer sk_test_x")
		stripe.ServeHTTP(w, copied)
		return w.Code, w.Body.String()
	}
	r := newRig(t)
	seen := map[string]bool{}
	c := r.checkout(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(req *http.Request) (*http.Response, error) {
			var body []byte
			if req.Body != nil {
				var err error
				if body, err = io.ReadAll(req.Body); err != nil {
					return nil, err
				}
				req.Body = io.NopCloser(bytes.NewReader(body))
			}
			if code, said := allowed(req, body); code != 200 {
				t.Errorf("%s %s %s: stripe-mock answers %d %s", req.Method, req.URL, body, code, said)
			}
			path, _, _ := strings.Cut(req.URL.Path, "/cus_")
			seen[req.Method+" "+path] = true
			return next.RoundTrip(req)
		})
	})
	begin := func(id, body string) Answer {
		t.Helper()
		a, err := c.Begin(t.Context(), r, id, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := begin("42", strings.Replace(buy, `"price":"price_pro_monthly"`, `"lookup_key":"pro_monthly","trial_days":7`, 1))
	if err := r.sim.PaySession(a.Session, stripesim.PaymentMethodParams{}); err != nil {
		t.Fatal(err)
	}
	for _, flow := range []string{"", "payment_method_update", "subscription_cancel", "subscription_update"} {
		if _, err := c.Portal(t.Context(), r, "42", []byte(`{"return_url":"`+origin+`","flow":"`+flow+`"}`)); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.sim.CreateCustomer(stripesim.CustomerParams{ID: "cus_old"}); err != nil {
		t.Fatal(err)
	}
	begin("43", strings.Replace(buy, "{", `{"customer":"cus_old",`, 1))
	if _, err := c.api.recent(t.Context(), "user_id", "43"); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"GET /v1/customers/search", "POST /v1/customers", "GET /v1/customers", "GET /v1/prices",
		"GET /v1/checkout/sessions", "POST /v1/checkout/sessions", "POST /v1/billing_portal/sessions",
	} {
		if !seen[want] {
			t.Errorf("no request was %s: %v", want, seen)
		}
	}
	// That it would notice.
	wrong := httptest.NewRequest(http.MethodPost, "/v1/checkout/sessions", nil)
	wrong.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if code, _ := allowed(wrong, []byte("mode=subscriptions")); code == 200 {
		t.Error("stripe-mock takes a mode that does not exist")
	}
}
