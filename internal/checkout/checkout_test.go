package checkout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/stripesim"
)

func (r *rig) begin(id, body string) (Answer, error) {
	return r.checkout(nil).Begin(r.t.Context(), r, id, []byte(body))
}

func (r *rig) must(id, body string) Answer {
	r.t.Helper()
	a, err := r.begin(id, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.must("42", buy)
	truth, _ := r.sim.Truth(first.Customer)
	if truth.Customer.Email != "amy@b.example" || truth.Customer.Metadata["user_id"] != "42" || first.URL == "" {
		t.Fatalf("%+v %+v", first, truth.Customer)
	}
	if again := r.must("42", buy); again != first {
		t.Errorf("the same purchase has the sessions %v and %v", first, again)
	}
	other := r.must("42", strings.Replace(buy, "pro", "team", 1))
	if other.Session == first.Session || other.Customer != first.Customer {
		t.Errorf("another price: %v after %v", other, first)
	}
	if err := r.sim.PaySession(first.Session, stripesim.PaymentMethodParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.begin("42", buy); code(err) != "already_subscribed" {
		t.Errorf("a second subscription: %v", err)
	}
	second := r.must("42", strings.Replace(buy, "{", `{"allow_second":true,`, 1))
	if second.Session == first.Session {
		t.Error("a session that was paid is returned again")
	}
	byKey := r.must("43", strings.Replace(buy, `"price":"price_pro_monthly"`, `"lookup_key":"pro_monthly","quantity":3,
		"trial_days":7`, 1))
	if err := r.sim.PaySession(byKey.Session, stripesim.PaymentMethodParams{}); err != nil {
		t.Fatal(err)
	}
	truth, _ = r.sim.Truth(byKey.Customer)
	if s := truth.Subscriptions[0]; s.Status != "trialing" || s.Items[0].Quantity != 3 {
		t.Errorf("subscription %+v", s)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	with := func(fields string) string { return strings.Replace(buy, "{", "{"+fields+",", 1) }
	for name, tc := range map[string]struct{ id, body, code string }{
		"a key":           {"cus_1", buy, "bad_request"},
		"a connected key": {"acct_1.cus_1", buy, "bad_request"},
		"a long id":       {strings.Repeat("x", 501), buy, "bad_request"},
		"a blank":         {" 42", buy, "bad_request"},
		"no body":         {"42", "", "bad_request"},
		"unknown field":   {"42", with(`"prize":"x"`), "bad_request"},
		"two bodies":      {"42", buy + buy, "bad_request"},
		"a brace more":    {"42", buy + "}", "bad_request"},
		"a list":          {"42", "[" + buy + "]", "bad_request"},
		"null":            {"42", "null", "bad_request"},
		"half a body":     {"42", buy[:len(buy)/2], "bad_request"},
		"a fraction":      {"42", with(`"quantity":1.5`), "bad_request"},
		"a large number":  {"42", with(`"quantity":1e30`), "bad_request"},
		"two prices":      {"42", with(`"lookup_key":"x"`), "bad_request"},
		"quantity":        {"42", with(`"quantity":-1`), "bad_request"},
		"trial":           {"42", with(`"trial_days":731`), "bad_request"},
		"email":           {"42", strings.Replace(buy, "amy@", "amy", 1), "bad_request"},
		"foreign":         {"42", strings.Replace(buy, origin+"/ok", "https://evil.example/ok", 1), "bad_request"},
		"userinfo":        {"42", strings.Replace(buy, origin+"/ok", "https://x@app.example/ok", 1), "bad_request"},
		"look-alike":      {"42", strings.Replace(buy, origin+"/ok", origin+".evil.example/ok", 1), "bad_request"},
		"a port":          {"42", strings.Replace(buy, origin+"/ok", origin+":8443/ok", 1), "bad_request"},
		"a backslash":     {"42", strings.Replace(buy, origin+"/ok", origin+`\\@evil.example`, 1), "bad_request"},
		"no scheme":       {"42", strings.Replace(buy, origin+"/ok", "//app.example/ok", 1), "bad_request"},
		"not encrypted":   {"42", strings.Replace(buy, origin+"/ok", "http://app.example/ok", 1), "bad_request"},
		"script":          {"42", strings.Replace(buy, origin+"/ok", "javascript:alert(1)", 1), "bad_request"},
		"no cancel_url":   {"42", strings.Replace(buy, origin+"/no", "", 1), "bad_request"},
		"no such price":   {"42", strings.Replace(buy, "price_pro_monthly", "price_x", 1), "stripe_refused"},
		"no such key": {"42", strings.Replace(buy, `"price":"price_pro_monthly"`, `"lookup_key":"x"`, 1),
			"no_price"},
		"no such customer": {"45", with(`"customer":"cus_none"`), "no_such_customer"},
		"not a customer":   {"42", with(`"customer":"sub_1"`), "bad_request"},
		"a path":           {"42", with(`"customer":"cus_1/../../events/evt_1"`), "bad_request"},
		"a query":          {"42", with(`"customer":"cus_1?expand[]=x"`), "bad_request"},
	} {
		if a, err := r.begin(tc.id, tc.body); code(err) != tc.code {
			t.Errorf("%s: %v, %v; want %s", name, a, err, tc.code)
		}
	}
	// What Stripe refused is finished by the next request.
	made := r.living("42")
	if a := r.must("42", buy); len(made) != 1 || a.Customer != made[0] {
		t.Errorf("customers %v, then %v", made, a)
	}
	r.index.fail = &entitlement.SyncError{Code: 503}
	var se *entitlement.SyncError
	if _, err := r.begin("42", buy); !errors.As(err, &se) {
		t.Errorf("the index's own error is %v", err)
	}
}

// A return URL leads to one of the origins, however it is written; the rest is refused.
func TestReturnURLs(t *testing.T) {
	t.Parallel()
	c := New(Config{Mode: entitlement.Test, Key: "rk_test_x",
		Origins: []string{"https://app.example", "http://localhost:3000", "http://[::1]:3000"}})
	for text, want := range map[string]bool{
		"https://app.example":  true,
		"https://app.example/": true,
		"https://app.example/ok?session={CHECKOUT_SESSION_ID}#top": true,
		"HTTPS://App.Example/ok":                                   true,
		"http://localhost:3000/ok":                                 true,
		"http://[::1]:3000/ok":                                     true,
		"https://app.example/?next=https://evil.example":           true, // the app's own page
		"":                         false,
		"/ok":                      false,
		"//app.example/ok":         false,
		"https:app.example/ok":     false,
		"https:///app.example/ok":  false,
		"https:\\\\app.example/ok": false,
		"http://app.example/ok":    false,
		"ftp://app.example/ok":     false,
		"javascript:alert(1)//https://app.example":         false,
		"javascript://app.example/%0aalert(1)":             false,
		"data:text/html,https://app.example":               false,
		"https://app.example:8443/ok":                      false,
		"https://app.example:/ok":                          false,
		"http://localhost:3001/ok":                         false,
		"http://localhost/ok":                              false,
		"http://[::1]/ok":                                  false,
		"http://[::2]:3000/ok":                             false,
		"http://127.0.0.1:3000/ok":                         false,
		"https://app.example.evil.example/ok":              false,
		"https://evil.example/https://app.example":         false,
		"https://app.example@evil.example/ok":              false,
		"https://evil.example@app.example/ok":              false,
		"https://@app.example/ok":                          false,
		"https://app.example\\@evil.example/ok":            false,
		"https://app.example%2eevil.example/ok":            false,
		"https://app.example./ok":                          false,
		"https://ａpp.example/ok":                           false,
		" https://app.example/ok":                          false,
		"https://app.example\t.evil.example/ok":            false,
		"https://app.example/\n":                           false,
		"https://app.example/\x00":                         false,
		"https://app.example/" + strings.Repeat("x", 5000): false,
	} {
		if err := c.checkURL("success_url", text); (err == nil) != want {
			t.Errorf("%.80q: %v, want %t", text, err, want)
		}
	}
}

// An id that looks like a query finds nobody but its own customer.
func TestIDsAreEscaped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	victim, err := r.sim.CreateCustomer(stripesim.CustomerParams{Email: "victim@example.com",
		Metadata: map[string]string{"user_id": "victim"}})
	if err != nil {
		t.Fatal(err)
	}
	r.sim.Advance(time.Hour)
	for _, id := range []string{`x' OR email:'victim@example.com`, `x" OR email:"victim@example.com`, `x\`,
		`\' OR email:'victim@example.com`, "VICTIM", `x' OR -metadata['user_id']:null`, "'", `"`, "<script>"} {
		a := r.must(id, strings.Replace(buy, `"email":"amy@b.example"`, `"trial_days":1`, 1))
		if got := r.living(id); a.Customer == victim || len(got) != 1 {
			t.Errorf("%s: %v of %v", id, a, got)
		}
		// The search finds it, and only it.
		r.sim.Advance(time.Hour)
		found, err := r.checkout(nil).api.search(t.Context(), "user_id", id)
		if err != nil || len(found) != 1 || found[0] != a.Customer {
			t.Errorf("search of %s: %v, %v", id, found, err)
		}
	}
}

func TestWhichCustomer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	create := func(id, customer string) {
		t.Helper()
		_, err := r.sim.CreateCustomer(stripesim.CustomerParams{ID: customer, Metadata: map[string]string{"user_id": id}})
		if err != nil {
			t.Fatal(err)
		}
	}
	naming := func(customer string) string { return strings.Replace(buy, "{", `{"customer":"`+customer+`",`, 1) }

	// Bound by the body, unless it has another id.
	create("", "cus_old")
	create("99", "cus_theirs")
	if a := r.must("42", naming("cus_old")); a.Customer != "cus_old" || len(r.living("42")) != 1 {
		t.Errorf("the customer in the body: %v, %v", a, r.living("42"))
	}
	if _, err := r.begin("43", naming("cus_theirs")); code(err) != "other_id" || len(r.living("43")) != 0 {
		t.Errorf("another id's customer: %v", err)
	}
	if a := r.must("42", buy); a.Customer != "cus_old" {
		t.Errorf("then: %v", a)
	}
	// Several: the one with a subscription, else the smallest.
	create("7", "cus_b")
	create("7", "cus_a")
	r.sim.Advance(time.Hour)
	if a := r.must("7", buy); a.Customer != "cus_a" {
		t.Errorf("of two: %v", a)
	}
	if _, err := r.sim.Checkout(stripesim.CheckoutParams{Customer: "cus_b", Price: "price_pro_monthly"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.begin("7", buy); code(err) != "already_subscribed" {
		t.Errorf("the other one has a subscription: %v", err)
	}
	// Deleted ones do not count, wherever they are found.
	if err := errors.Join(r.sim.DeleteCustomer("cus_a"), r.sim.DeleteCustomer("cus_b")); err != nil {
		t.Fatal(err)
	}
	fresh := r.must("7", buy)
	if got := r.living("7"); len(got) != 1 || got[0] != fresh.Customer {
		t.Errorf("after both were deleted: %v of %v", fresh, got)
	}
	// Within the day the key still gives the deleted one.
	if err := r.sim.DeleteCustomer(fresh.Customer); err != nil {
		t.Fatal(err)
	}
	next := r.must("7", buy)
	if got := r.living("7"); len(got) != 1 || got[0] != next.Customer {
		t.Errorf("after the new one was deleted: %v of %v", next, got)
	}
}

func TestPortal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	portal := func(id, body string) (Answer, error) {
		return r.checkout(nil).Portal(t.Context(), r, id, []byte(body))
	}
	const back = `{"return_url":"` + origin + `/account"`
	if _, err := portal("42", back+"}"); code(err) != "no_customer" || len(r.living("42")) != 0 {
		t.Errorf("nobody: %v", err)
	}
	a := r.must("42", buy)
	if _, err := portal("42", back+`,"flow":"subscription_cancel"}`); code(err) != "no_subscription" {
		t.Errorf("nothing to cancel: %v", err)
	}
	if err := r.sim.PaySession(a.Session, stripesim.PaymentMethodParams{}); err != nil {
		t.Fatal(err)
	}
	for _, flow := range []string{"", "payment_method_update", "subscription_cancel", "subscription_update"} {
		got, err := portal("42", back+`,"flow":"`+flow+`"}`)
		if err != nil || !strings.HasPrefix(got.URL, r.url) {
			t.Errorf("%s: %v, %v", flow, got, err)
		}
	}
	for _, body := range []string{back + `,"flow":"x"}`, `{"return_url":"https://evil.example"}`, `{}`} {
		if _, err := portal("42", body); code(err) != "bad_request" {
			t.Errorf("%s: %v", body, err)
		}
	}
	// A reading by your own id that the index does not know yet.
	r.sim.Advance(time.Hour)
	s, err := r.checkout(nil).Fresh(t.Context(), newIndex(r.sim), "42")
	if err != nil || len(s) != 1 || s[0].Customer != a.Customer || s[0].Status != "active" {
		t.Errorf("a fresh reading: %v, %v", s, err)
	}
	if _, err := r.checkout(nil).Fresh(t.Context(), r, "nobody"); code(err) != "no_customer" {
		t.Errorf("nobody's reading: %v", err)
	}
}

// Two hundred first checkouts of one user at once, over two processes with an index each, of which
// requests are lost before and after they take effect, or are killed; then a day later, after the
// customer was deleted, while the search and one index lag.
func TestManyTabs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const tabs = 200
	storm := func(seed uint64) map[string]int {
		indexes := []*index{newIndex(r.sim), newIndex(r.sim)}
		var mu sync.Mutex
		customers := map[string]int{}
		var w sync.WaitGroup
		for tab := range tabs {
			w.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(tab)))
				for try := 0; ; try++ {
					ctx, kill := context.WithCancel(t.Context())
					c := r.checkout(func(next http.RoundTripper) http.RoundTripper {
						return transport(func(req *http.Request) (*http.Response, error) {
							if try >= 3 {
								return next.RoundTrip(req)
							}
							switch rng.IntN(12) {
							case 0:
								return nil, errNetwork
							case 1:
								return nil, lose(next.RoundTrip(req))
							case 2:
								err := lose(next.RoundTrip(req))
								kill()
								return nil, err
							}
							return next.RoundTrip(req)
						})
					})
					body := strings.Replace(buy, "amy", fmt.Sprint("amy", tab%3), 1)
					a, err := c.Begin(ctx, indexes[tab%2], "42", []byte(body))
					kill()
					if err == nil {
						mu.Lock()
						customers[a.Customer]++
						mu.Unlock()
						return
					}
					if try == 20 {
						t.Errorf("tab %d: still %v", tab, err)
						return
					}
				}
			})
		}
		w.Wait()
		return customers
	}
	first := storm(1)
	if got := r.living("42"); len(got) != 1 || first[got[0]] != tabs {
		t.Fatalf("customers %v; the tabs have %v", got, first)
	}
	r.sim.Advance(24 * time.Hour)
	if err := r.sim.DeleteCustomer(r.living("42")[0]); err != nil {
		t.Fatal(err)
	}
	second := storm(2)
	if got := r.living("42"); len(got) != 1 || second[got[0]] != tabs {
		t.Fatalf("a day later: customers %v; the tabs have %v", got, second)
	}
	if fmt.Sprint(first) == fmt.Sprint(second) {
		t.Error("the deleted customer is used")
	}
}
