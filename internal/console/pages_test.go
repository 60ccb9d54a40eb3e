package console

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// Each page through a life: the customer is found, its verdict is first, its story follows, a change makes
// two revisions to compare, and it is read again.
func TestPages(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.shows("/", 200, "Overview", "Waiting for a sync", `aria-current="page"`)
	r.shows("/customers", 200, "No customer has a snapshot yet")
	r.shows("/parked", 200, "No customer is parked in this mode.")
	r.shows("/none", 404, "there is no page at this address")
	sub := r.subscribed("cus_Ann", "user-42")

	r.shows("/customers", 200, "cus_Ann", "user-42", "access, active", "The customers that were read last")
	for _, q := range []string{"cus_Ann", "cus_A", "user-42", "user", "id:user-42", "key:cus_Ann"} {
		if body := r.shows("/customers?q="+url.QueryEscape(q), 200, `href="/customers/cus_Ann"`); strings.Count(body,
			`href="/customers/cus_Ann"`) != 1 {
			t.Errorf("%s is found more than once", q)
		}
	}
	r.shows("/customers?q=cus_B", 200, "begins with", "cus_B")
	r.shows("/customers/user-42", 200, `<h1 class="id">cus_Ann</h1>`) // your own id leads there
	r.shows("/customers/user-43", 404, "no customer has the id user-43")

	body := r.comes("/customers/cus_Ann", "access, active", "Access since", "first seen, active",
		"customer.subscription.created", "covers", "seats", "50", "plan pro of "+sub, "Read again now",
		"&#34;customer&#34;: &#34;cus_Ann&#34;", "Every event that marks this customer is covered by a sync.")
	if verdict, story := strings.Index(body, "access, active"), strings.Index(body, `id="story"`); verdict > story {
		t.Error("the story comes before the verdict")
	}
	r.shows("/customers/cus_None", 404, "cus_None is unknown in test mode", "Read again now")
	// A NATS server ends the connection that names a subject so long.
	r.shows("/customers/cus_"+strings.Repeat("a", 5000), 400, "none of a customer is longer")
	r.shows("/events?customer=cus_"+strings.Repeat("a", 5000), 422, "none of a customer is longer")
	r.shows("/customers/cus_"+strings.Repeat("%C3%A9", 900), 400, "key of 5404 bytes")
	r.shows("/events?type="+strings.Repeat("a", 5000), 400, "none is longer than 255")
	r.shows("/customers/cus_Ann", 200)

	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.until("cus_Ann", func(s entitlement.Snapshot) bool { return !s.Access })
	r.comes("/customers/cus_Ann", "no access: canceled", "Lost access", "customer.subscription.deleted",
		"Compare two revisions")
	r.shows("/customers/cus_Ann/compare", 200, "access", `<td>true</td><td class="denies">false</td>`, "<del>", "<ins>")

	code, body := r.post("/customers/cus_Ann/read", nil)
	if code != 200 || !strings.Contains(body, "Read again from Stripe just now") ||
		!strings.Contains(body, "requested by an app") {
		t.Errorf("read again: %d\n%s", code, body)
	}
	if code, body := r.post("/customers/cus_None/read", nil); code != http.StatusBadGateway ||
		!strings.Contains(body, "Next step: check the id, the mode and the account") {
		t.Errorf("reading nobody: %d\n%s", code, body)
	}
	if code, body := r.get("/customers/cus_Ann/read"); code != http.StatusNotFound {
		t.Errorf("GET of an act: %d\n%s", code, body)
	}
}

// A redrive from the page has a parked customer tried again, and it is parked no more.
func TestRedrive(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.sim.RemoveWebhookEndpoint(r.hook) // an event of a parked customer tries it again
	var keys []string
	for _, id := range []string{"cus_A", "cus_B", "cus_C"} {
		keys = append(keys, id)
		if _, err := r.sim.CreateCustomer(stripesim.CustomerParams{ID: id}); err != nil {
			t.Fatal(err)
		}
		r.park(stripeevent.Customer{Mode: entitlement.Test, ID: id}, "list subscriptions: <b>no whole state</b>")
	}
	r.shows("/parked", 200, "after 23 attempts", "&lt;b&gt;no whole state&lt;/b&gt;", "invoice.paid",
		"Redrive all 3", "1 to 3 of 3")
	r.shows("/", 200, `href="/parked">3</a>`)
	gone := func(want ...string) {
		t.Helper()
		natstest.Eventually(t, soon, func() error {
			_, body := r.get("/parked")
			for _, key := range keys {
				still := strings.Contains(body, `href="/customers/`+key+`"`)
				for _, w := range want {
					if w == key && still {
						return fmt.Errorf("%s is still parked", key)
					}
				}
			}
			return nil
		})
	}
	code, body := r.post("/parked/redrive", url.Values{"customer": {"cus_B"}})
	if code != 200 || !strings.Contains(body, "1 customer will be tried again") {
		t.Errorf("redrive one: %d\n%s", code, body)
	}
	gone("cus_B")
	if _, body := r.get("/parked"); !strings.Contains(body, "Redrive all 2") {
		t.Errorf("others were redriven too:\n%s", body)
	}
	if code, body := r.post("/parked/redrive", url.Values{"customer": {"cus_B", "cus_Nobody"}}); code != http.StatusConflict {
		t.Errorf("redrive of one that is not parked: %d\n%s", code, body)
	}
	if code, body = r.post("/parked/redrive", url.Values{"all": {"1"}}); code != 200 ||
		!strings.Contains(body, "2 customers will be tried again") {
		t.Errorf("redrive all: %d\n%s", code, body)
	}
	gone(keys...)
}

// Names can be anything: they are shown as they are, and their links lead to them.
func TestForeignNames(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	names := []string{"<script>alert(1)</script>", `a"b'c&d`, "user/42", "../../etc", "ünïcödé ✓", "id:cus_1", "?q=1#x",
		"%2F%00", strings.Repeat("long", 100), "cus_9"}
	for i, name := range names {
		r.subscribed("cus_N"+string(rune('a'+i)), name)
	}
	for i, name := range names {
		key := "cus_N" + string(rune('a'+i))
		if body := r.shows("/customers?q="+url.QueryEscape("id:"+name), 200, `href="/customers/`+key+`"`); strings.Contains(body,
			"<script>alert") {
			t.Error("the markup in a name is in the page")
		}
		r.shows("/customers/"+url.PathEscape("id:"+name), 200, `<h1 class="id">`+key+`</h1>`)
	}
	for _, ref := range []string{"<script>alert(1)</script>", "key:=3Cscript=3E", "acct_1.cus_<b>", "acct_1/cus_2"} {
		if _, body := r.get("/customers/" + url.PathEscape(ref)); strings.Contains(body, "<script>alert") ||
			strings.Contains(body, "cus_<b>") {
			t.Errorf("%s is markup in the page:\n%s", ref, body)
		}
	}
	r.shows("/customers?q="+strings.Repeat("x", 1025), 400, "no name of a customer is that long")
}

// A customer of a connected account is found by its key, and read.
func TestConnectedAccount(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	at := r.sim.Connect("acct_Shop")
	product, err := at.CreateProduct(stripesim.ProductParams{ID: "prod_pro", Name: "Pro"})
	if err != nil {
		t.Fatal(err)
	}
	price, err := at.CreatePrice(stripesim.PriceParams{Product: product})
	if err == nil {
		_, err = at.CreateCustomer(stripesim.CustomerParams{ID: "cus_Far"})
	}
	if err == nil {
		_, err = at.CreateSubscription(stripesim.SubscriptionParams{Customer: "cus_Far",
			Items: []stripesim.ItemParams{{Price: price}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	const path = "/customers/acct_Shop%2Fcus_Far"
	if code, body := r.post(path+"/read", nil); code != 200 || !strings.Contains(body, "Read again from Stripe just now") {
		t.Fatalf("read: %d\n%s", code, body)
	}
	r.shows(path, 200, `<h1 class="id">acct_Shop/cus_Far</h1>`, "access, active")
	for _, q := range []string{"acct_Shop.cus_Far", "acct_Shop/cus_F", "acct_Sh", "cus_Far"} {
		r.shows("/customers?q="+url.QueryEscape(q), 200, `href="`+path+`"`)
	}
}

// While NATS is away each page says so, in the layout and with the status 503; then they are back.
func TestNATSAway(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.subscribed("cus_Ann", "user-42")
	paths := []string{"/", "/customers", "/customers?q=cus_Ann", "/customers?q=user-42", "/customers/cus_Ann",
		"/customers/user-42", "/customers/cus_Ann/compare", "/parked", "/events", "/events/1", "/plans",
		"/plans/1"}
	for _, path := range paths {
		r.shows(path, map[bool]int{true: 404, false: 200}[strings.HasSuffix(path, "compare")])
	}
	r.Shutdown()
	for _, path := range paths {
		natstest.Eventually(t, soon, func() error {
			if code, body := r.get(path); code != 503 || !strings.Contains(body, "the console has no connection to NATS") {
				return fmt.Errorf("%s: %d\n%s", path, code, body)
			}
			return nil
		})
		r.shows(path, 503, `aria-label="Pages"`, `hx-trigger="every 2s"`)
	}
	for _, path := range []string{"/customers/cus_Ann/read", "/parked/redrive"} {
		if code, body := r.post(path, url.Values{"all": {"1"}}); code != 503 || strings.Contains(body, `hx-trigger="every`) {
			t.Errorf("POST %s: %d\n%s", path, code, body)
		}
	}
	r.Restart()
	for _, path := range paths {
		natstest.Eventually(t, soon, func() error {
			if code, body := r.get(path); code == 503 {
				return fmt.Errorf("%s: %d\n%s", path, code, body)
			}
			return nil
		})
	}
}

// A stream that was deleted under the console is made again by the daemons, so the page tries again.
func TestDeletedStream(t *testing.T) {
	t.Parallel()
	c := &Console{cfg: Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	deleted := &jetstream.APIError{Code: 404, ErrorCode: jetstream.JSErrCodeStreamNotFound,
		Description: "stream not found"}
	if p := c.problemOf(fmt.Errorf("read STRIPE_EVENTS: %w", deleted)); p.status != 503 ||
		p.Title != "No pipeline here yet" {
		t.Errorf("%+v", p)
	}
}
