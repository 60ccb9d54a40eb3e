package stripesim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func TestCheckout(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	n := len(b.kinds())
	c := b.BeginCheckout(stripesim.CheckoutParams{Email: "ada@example.com", Price: "price_pro"})
	var statuses []string
	for more := true; more; {
		more = must(c.Next())
		if s, ok := b.Subscription(c.Subscription); ok {
			statuses = append(statuses, s.Status)
		}
	}
	if want := []string{"incomplete", "incomplete", "active", "active"}; !slices.Equal(statuses, want) {
		t.Errorf("statuses %v, want %v", statuses, want)
	}
	b.saw(n, "customer.created", "payment_method.attached", "customer.subscription.created", "invoice.created",
		"invoice.finalized", "payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "invoice.paid",
		"invoice.payment_succeeded", "customer.subscription.updated", "entitlements.active_entitlement_summary.updated",
		"checkout.session.completed")
	p := listOf(c.Customer, "")
	p.AddExpand("data.default_payment_method")
	if s := must(b.list(p))[0]; s.DefaultPaymentMethod.Card.Last4 != "4242" {
		t.Errorf("payment method %+v", s.DefaultPaymentMethod)
	}
	params := stripesim.CheckoutParams{Customer: c.Customer, Price: "price_team", TrialDays: 7}
	again := must(b.CheckoutOver(soon(t), params, 10*time.Millisecond))
	b.status(again.Subscription, "trialing")
	b.saw(n, "setup_intent.succeeded")
	if _, err := b.Checkout(stripesim.CheckoutParams{Price: "price_none"}); err == nil {
		t.Error("bought an unknown price")
	}
	must(0, b.FailPayments(c.Customer))
	declined := must(b.Checkout(stripesim.CheckoutParams{Customer: c.Customer, Price: "price_pro"}))
	b.status(declined.Subscription, "incomplete")
}

func TestStories(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	r := receive(t, secret)
	b.hook(r.URL)
	last := map[string]stripesim.Progress{}
	must(0, b.RunStories(soon(t), stripesim.Stories(), 0, func(p stripesim.Progress) { last[p.Story] = p }))
	must(0, b.Quiet(soon(t)))
	for story, want := range map[string]string{
		"amelia": "active", "bruno": "active", "chloe": "active", "dmitri": "active", "elif": "canceled",
		"farah": "canceled", "gus": "active",
	} {
		line := last[story]
		a := b.Account
		if line.Account != "" {
			a = b.Connect(line.Account)
		}
		truth, ok := a.Truth(line.Customer)
		if !ok || truth.Subscriptions[0].Status != want || truth.Customer.Deleted != (story == "farah") {
			t.Errorf("%s ends as %+v, want %s", story, truth.Subscriptions, want)
		}
	}
	if len(r.bodies) < 100 {
		t.Errorf("only %d webhooks", len(r.bodies))
	}
}

func (b *bench) admin(method, path, body string) (int, map[string]any) {
	b.t.Helper()
	req := must(http.NewRequest(method, b.url+path, strings.NewReader(body)))
	resp := must(http.DefaultClient.Do(req))
	defer resp.Body.Close()
	var out map[string]any
	must(0, json.Unmarshal(must(io.ReadAll(resp.Body)), &out))
	return resp.StatusCode, out
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	r := receive(t, secret)
	ok := func(method, path, body string) map[string]any {
		t.Helper()
		status, out := b.admin(method, path, body)
		if status != http.StatusOK {
			t.Fatalf("%s %s: %d %v", method, path, status, out)
		}
		return out
	}
	hook := ok("POST", "/_sim/webhooks", fmt.Sprintf(`{"url":%q,"secrets":[%q]}`, r.URL, secret))
	if !strings.HasPrefix(hook["id"].(string), "we_") {
		t.Errorf("webhook %v", hook)
	}
	ok("POST", "/_sim/catalog", "{}")
	ok("POST", "/_sim/catalog", `{"product":"prod_x","features":["x"],"price":"price_x","unit_amount":100}`)
	bought := ok("POST", "/_sim/checkout", `{"customer":"cus_ada","email":"ada@example.com","price":"price_x"}`)
	ok("POST", "/_sim/checkout", "")
	ok("POST", "/_sim/act", fmt.Sprintf(`{"do":"cancel_at_period_end","id":%q}`, bought["subscription"]))
	ok("POST", "/_sim/clock", `{"advance":"720h"}`)
	state := ok("GET", "/_sim/state?customer=cus_ada&live=false", "")
	if s := state["subscriptions"].(map[string]any)["data"].([]any)[0].(map[string]any); s["status"] != "canceled" {
		t.Errorf("state %v", s)
	}
	if all := ok("GET", "/_sim/state", ""); all["customers"] != 2.0 {
		t.Errorf("customers %v", all)
	}
	ok("POST", "/_sim/faults", `{"error_500":1}`)
	if status, _, _ := b.get("/v1/customers"); status != 500 {
		t.Errorf("faults were not set: %d", status)
	}
	if f := ok("GET", "/_sim/faults", ""); f["error_500"] != 1.0 {
		t.Errorf("faults %v", f)
	}
	ok("POST", "/_sim/faults", `{}`)
	if log := ok("GET", "/_sim/requests", ""); len(log["requests"].([]any)) != 1 {
		t.Errorf("log %v", log)
	}
	ok("DELETE", "/_sim/requests", "")
	if told := ok("POST", "/_sim/stories", `{"name":"farah"}`); len(told["told"].([]any)) != 2 {
		t.Errorf("told %v", told)
	}
	ok("GET", "/_sim/clock", "")
	ok("POST", "/_sim/quiet", "")
	if w := ok("GET", "/_sim/webhooks", ""); len(w["attempts"].([]any)) != len(r.bodies) {
		t.Errorf("%d attempts, took %d", len(w["attempts"].([]any)), len(r.bodies))
	}
	for path, body := range map[string]string{
		"/_sim/faults": `{"eror_500":1}`, "/_sim/clock": `{"advance":"-1h"}`, "/_sim/act": `{"do":"dance"}`,
		"/_sim/webhooks": `{}`, "/_sim/stories": `{"name":"nobody"}`, "/_sim/checkout": `{"spread":"long"}`,
	} {
		if status, out := b.admin("POST", path, body); status != 400 || out["error"] == "" {
			t.Errorf("%s %s: %d %v", path, body, status, out)
		}
	}
	status, out := b.admin("GET", "/_sim/nothing", "")
	if status != 404 || !strings.Contains(fmt.Sprint(out["error"]), "POST /_sim/act, ") {
		t.Errorf("unknown path: %d %v, want the paths", status, out)
	}
}

// An unknown field is refused, and the error lists the known ones.
func TestAdminNamesItsFields(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	for _, tc := range []struct{ path, body, want string }{
		{"act", `{"action":"cancel"}`, "account, live, do, id, price, status, metadata, at"},
		{"clock", `{"by":"1h"}`, "advance"},
		{"webhooks", `{"secret":"whsec_x"}`, "id, url, secrets, connect, livemode, enabled_types"},
		{"faults", `{"error":0.1}`, "only, latency{min, max}, slow_reads, "},
		{"faults", `{"latency":{"mn":"1s"}}`, "only, latency{min, max}, slow_reads, "},
		{"faults", `{"limits":{"all":1}}`, "limits{endpoint, live, test, concurrency}"},
		{"stories", `{"story":"farah"}`, "name, pace"},
	} {
		status, out := b.admin("POST", "/_sim/"+tc.path, tc.body)
		text := fmt.Sprint(out["error"])
		_, fields, ok := strings.Cut(text, ": the fields are ")
		if status != 400 || !ok || !strings.Contains(fields, tc.want) {
			t.Errorf("%s %s: %d %q, want %q", tc.path, tc.body, status, text, tc.want)
		}
	}
}

// TestTruthMatchesTheAPI compares Truth with the API, both decoded by stripe-go, while the state
// changes.
func TestTruthMatchesTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	b.subscribe(c, "price_team")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			must(0, b.UpdateSubscription(sub, map[string]string{"n": fmt.Sprint(i)}))
			b.Advance(day)
		}
	})
	for range 50 {
		p := listOf(c, "all")
		subs := must(b.list(p))
		if len(subs) != 2 {
			t.Errorf("saw %d subscriptions", len(subs))
		}
	}
	wg.Wait()
	truth, _ := b.Truth(c)
	const query = "/v1/subscriptions?status=all&limit=100&expand[]=data.customer&expand[]=data.default_payment_method"
	_, body, _ := b.get(query+"&customer="+c, "Stripe-Version", stripesim.PinnedVersion)
	if body != string(truth.SubscriptionsJSON) {
		t.Errorf("API   %s\ntruth %s", body, truth.SubscriptionsJSON)
	}
	_, body, _ = b.get("/v1/customers/"+c, "Stripe-Version", stripesim.PinnedVersion)
	if body != string(truth.CustomerJSON) {
		t.Errorf("API   %s\ntruth %s", body, truth.CustomerJSON)
	}
	if len(truth.Subscriptions) != 2 || truth.Subscriptions[1].ID != sub {
		t.Errorf("subscriptions %+v", truth.Subscriptions)
	}
	if _, ok := b.Truth("cus_none"); ok {
		t.Error("truth of an unknown customer")
	}
}

// load fills n customers with a subscription each, spread over the past.
func load(a *stripesim.Account, n int) error {
	return a.Load(func(l *stripesim.Loader) error {
		for i := range n {
			created := start.Unix() - int64((i*7919)%n)
			c, err := l.Customer(stripesim.CustomerParams{Created: created})
			if err != nil {
				return err
			}
			items := []stripesim.ItemParams{{Price: "price_pro"}}
			p := stripesim.SubscriptionParams{Customer: c, Created: created, Items: items}
			if i%10 == 0 {
				p.Status = "canceled"
			}
			if _, err := l.Subscription(p); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	before := len(b.Events())
	const n = 500
	must(0, load(b.Account, n))
	if len(b.Events()) != before {
		t.Error("a load emits events")
	}
	p := listOf("", "all")
	p.Limit = stripe.Int64(100)
	subs := must(b.list(p))
	newestFirst := func(a, b *stripe.Subscription) int { return int(b.Created - a.Created) }
	if len(subs) != n || !slices.IsSortedFunc(subs, newestFirst) {
		t.Errorf("%d subscriptions, newest first?", len(subs))
	}
	if n := b.Stats().ByEndpoint[listEndpoint]; n != 5 {
		t.Errorf("%d requests, want 5", n)
	}
	must(0, b.Cancel(subs[1].ID))
	b.Advance(31 * day)
	s, _ := b.Subscription(subs[2].ID)
	if s.Status != "active" && s.Status != "canceled" || s.Status == "active" && s.CurrentPeriodEnd <= b.Now().Unix() {
		t.Errorf("a loaded subscription does not renew: %+v", s)
	}
}

func BenchmarkListPage(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		for _, limit := range []int{1, 100} {
			b.Run(fmt.Sprintf("%d_subscriptions/limit_%d", n, limit), func(b *testing.B) {
				s := setup(b, stripesim.Config{})
				must(0, load(s.Account, n))
				_, body, _ := s.get("/v1/subscriptions?limit=100")
				var page struct{ Data []struct{ ID string } }
				must(0, json.Unmarshal([]byte(body), &page))
				const path = "/v1/subscriptions?status=all&limit=%d&starting_after=%s"
				req := must(http.NewRequest(http.MethodGet, fmt.Sprintf(path, limit, page.Data[50].ID), nil))
				req.Header.Set("Authorization", "Bearer sk_test_abc")
				b.ReportAllocs()
				for b.Loop() {
					w := discard{header: http.Header{}}
					s.ServeHTTP(&w, req)
					if w.status != 200 {
						b.Fatal(w.status)
					}
				}
			})
		}
	}
}

// discard is a ResponseWriter that keeps only the status.
type discard struct {
	header http.Header
	status int
	bytes.Buffer
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
