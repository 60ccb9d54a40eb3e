package stripesim_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func listOf(customer, status string) *stripe.SubscriptionListParams {
	p := &stripe.SubscriptionListParams{}
	if customer != "" {
		p.Customer = stripe.String(customer)
	}
	if status != "" {
		p.Status = stripe.String(status)
	}
	return p
}

func ids(subs []*stripe.Subscription) []string {
	out := []string{}
	for _, s := range subs {
		out = append(out, s.ID)
	}
	return out
}

func second(_ int, body string, _ any) string { return body }

func TestStatusFilters(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	statuses := []string{
		"active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing", "paused",
	}
	byStatus := map[string]string{}
	for _, st := range statuses {
		s := b.subscribe(c, "price_pro")
		if st != "active" {
			must(0, b.SetStatus(s, st))
		}
		byStatus[st] = s
	}
	other := b.subscribe(b.customer("cus_b"), "price_team")
	for _, st := range statuses {
		if got := ids(must(b.list(listOf(c, st)))); !slices.Equal(got, []string{byStatus[st]}) {
			t.Errorf("status=%s: %v, want %s", st, got, byStatus[st])
		}
	}
	if n := len(must(b.list(listOf(c, "all")))); n != 8 {
		t.Errorf("status=all: %d, want 8", n)
	}
	if n := len(must(b.list(listOf(c, "ended")))); n != 2 {
		t.Errorf("status=ended: %d, want 2", n)
	}
	if n := len(must(b.list(listOf(c, "")))); n != 6 {
		t.Errorf("no status: %d, want 6", n)
	}
	p := listOf("", "all")
	p.Price = stripe.String("price_team")
	if got := ids(must(b.list(p))); !slices.Equal(got, []string{other}) {
		t.Errorf("price: %v, want %s", got, other)
	}
	must(0, b.SetStatus(other, "on_the_moon"))
	if s := must(b.api.Subscriptions.Get(other, nil)); s.Status != "on_the_moon" {
		t.Errorf("unknown status: %q", s.Status)
	}
	_, err := b.list(listOf(c, "asleep"))
	if se := stripeError(t, err); se.HTTPStatusCode != 400 || se.Param != "status" {
		t.Errorf("bad status: %v", se)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	b.subscribe(b.customer("cus_a"), "price_pro")
	twentyOne := strings.Repeat("&types[]=invoice.paid", 21)[1:]
	for _, tc := range []struct {
		path            string
		status          int
		code, param, in string
	}{
		{"/v1/subscriptions?limit=0", 400, "parameter_invalid_integer", "limit", "greater than or equal to 1"},
		{"/v1/subscriptions?limit=101", 400, "parameter_invalid_integer", "limit", "100"},
		{"/v1/subscriptions?limit=ten", 400, "parameter_invalid_integer", "limit", "Invalid integer"},
		{"/v1/subscriptions?customer=cus_x", 400, "resource_missing", "customer", "No such customer: 'cus_x'"},
		{"/v1/subscriptions?customer=", 400, "parameter_invalid_empty", "customer", "empty string"},
		{"/v1/subscriptions?starting_after=sub_x", 400, "resource_missing", "starting_after",
			"No such subscription: 'sub_x'"},
		{"/v1/subscriptions?ending_before=sub_x", 400, "resource_missing", "ending_before", "sub_x"},
		{"/v1/subscriptions?product=prod_x", 400, "parameter_unknown", "product",
			"Received unknown parameter: product"},
		{"/v1/subscriptions?created[around]=3", 400, "parameter_unknown", "created[around]", "unknown"},
		{"/v1/subscriptions?price=price_x", 400, "resource_missing", "price", "No such price"},
		{"/v1/subscriptions/sub_x", 404, "resource_missing", "id", "No such subscription"},
		{"/v1/subscription_items", 400, "parameter_missing", "subscription", "Missing required param"},
		{"/v1/customers/cus_x", 404, "resource_missing", "id", "No such customer: 'cus_x'"},
		{"/v1/entitlements/active_entitlements", 400, "parameter_missing", "customer",
			"Missing required param: customer."},
		{"/v1/entitlements/active_entitlements?customer=cus_x", 400, "resource_missing", "customer", "cus_x"},
		{"/v1/events?" + twentyOne, 400, "", "types", "20"},
		{"/v1/events?type=a&types[]=b", 400, "", "type", "not both"},
		{"/v1/nonsense", 404, "", "", "Unrecognized request URL (GET: /v1/nonsense)"},
	} {
		status, body, _ := b.get(tc.path)
		var e struct {
			Error struct{ Type, Code, Param, Message string }
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			t.Errorf("%s: %v", tc.path, err)
		}
		if status != tc.status || e.Error.Code != tc.code || e.Error.Param != tc.param ||
			!strings.Contains(e.Error.Message, tc.in) {
			t.Errorf("%s: %d %+v", tc.path, status, e.Error)
		}
		if e.Error.Type != "invalid_request_error" {
			t.Errorf("%s: type %q", tc.path, e.Error.Type)
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := must(b.CreateCustomer(stripesim.CustomerParams{Metadata: map[string]string{"team": "blue"}}))
	sub := b.subscribe(c, "price_pro")
	p := listOf(c, "all")
	for _, path := range []string{"data.customer", "data.default_payment_method", "data.latest_invoice"} {
		p.AddExpand(path)
	}
	s := must(b.list(p))[0]
	if s.Customer.Metadata["team"] != "blue" || s.LatestInvoice.Status != "paid" || s.DefaultPaymentMethod != nil {
		t.Fatalf("expanded %+v", s)
	}
	_, body, _ := b.get("/v1/subscriptions/" + sub + "?expand[]=items.data.price.product")
	if !strings.Contains(body, `"product":{"id":"prod_pro","object":"product"`) {
		t.Errorf("product not expanded: %s", body)
	}
	cust := must(b.api.Customers.Get(c, &stripe.CustomerParams{Expand: []*string{stripe.String("subscriptions")}}))
	if len(cust.Subscriptions.Data) != 1 || cust.Subscriptions.Data[0].ID != sub {
		t.Errorf("subscriptions of the customer: %+v", cust.Subscriptions)
	}
	for path, want := range map[string]string{
		"expand[]=data.items.data.price.product":  "You cannot expand more than 4 levels of a property",
		"expand[0]=data.items.data.price.product": "You cannot expand more than 4 levels of a property",
		"expand[]=data.bogus":                     "This property cannot be expanded (data.bogus).",
		"expand[]=data.status":                    "This property cannot be expanded (data.status).",
		"expand[]=customer":                       "You may want to try expanding 'data.customer' instead.",
	} {
		status, body, _ := b.get("/v1/subscriptions?" + path)
		if status != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestDeletedCustomer(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		b := setup(t, stripesim.Config{ListDeletedCustomers: keep})
		c := b.customer("cus_a")
		sub := b.subscribe(c, "price_pro")
		must(0, b.DeleteCustomer(c))
		if cust := must(b.api.Customers.Get(c, nil)); !cust.Deleted || cust.Object != "customer" {
			t.Errorf("customer %+v, want deleted", cust)
		}
		want := 0
		if keep {
			want = 1
		}
		if n := len(must(b.list(listOf(c, "all")))); n != want {
			t.Errorf("by customer: %d subscriptions, want %d", n, want)
		}
		p := listOf("", "all")
		p.AddExpand("data.customer")
		all := must(b.list(p))
		if len(all) != 1 || all[0].ID != sub || all[0].Status != "canceled" || !all[0].Customer.Deleted {
			t.Errorf("all subscriptions: %+v", all)
		}
		it := b.api.Customers.List(nil)
		if it.Next() {
			t.Errorf("a deleted customer is listed")
		}
		if err := b.UpdateCustomer(c, nil); err == nil {
			t.Error("a deleted customer was updated")
		}
	}
}

func TestEntitlements(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	keys := func() []string {
		out := []string{}
		it := b.api.EntitlementsActiveEntitlements.List(&stripe.EntitlementsActiveEntitlementListParams{
			Customer: stripe.String(c),
		})
		for it.Next() {
			out = append(out, it.EntitlementsActiveEntitlement().LookupKey)
		}
		must(0, it.Err())
		truth, _ := b.Truth(c)
		if !slices.Equal(out, truth.Entitlements) {
			t.Errorf("the API says %v, the truth %v", out, truth.Entitlements)
		}
		slices.Sort(out)
		return out
	}
	check := func(when string, want ...string) {
		t.Helper()
		if got := keys(); !slices.Equal(got, append([]string{}, want...)) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("without a subscription")
	sub := b.subscribe(c, "price_pro")
	check("subscribed", "api_access", "export")
	must(0, b.SetProductFeatures("prod_pro", "export", "sso"))
	check("features changed, same cycle", "api_access", "export")
	b.Advance(31 * 24 * time.Hour)
	check("next cycle", "export", "sso")
	must(0, b.SetStatus(sub, "paused"))
	check("paused keeps them", "export", "sso")
	must(0, b.SetStatus(sub, "unpaid"))
	check("unpaid")
	must(0, b.SetStatus(sub, "active"))
	must(0, b.Cancel(sub))
	check("canceled")

	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf("feature_%02d", i))
	}
	must(b.CreateProduct(stripesim.ProductParams{ID: "prod_all", Features: many}))
	must(b.CreatePrice(stripesim.PriceParams{ID: "price_all", Product: "prod_all"}))
	b.subscribe(c, "price_all")
	check("25 over three pages", many...)
	for _, e := range b.Events() {
		data := string(e.Data)
		if e.Type == "entitlements.active_entitlement_summary.updated" && strings.Contains(data, "feature_00") {
			if n := strings.Count(string(e.Data), `"lookup_key"`); n != 10 {
				t.Errorf("the summary names %d, want the first 10", n)
			}
			if !strings.Contains(data, `"has_more":true`) || strings.Contains(data, `"object":{"id"`) {
				t.Errorf("summary: %s", e.Data)
			}
		}
	}
}

func TestCatalogReads(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	it := b.api.Prices.List(&stripe.PriceListParams{
		LookupKeys: stripe.StringSlice([]string{"pro", "team"}), Active: stripe.Bool(true),
	})
	n := 0
	for it.Next() {
		n++
	}
	if n != 2 || it.Err() != nil {
		t.Errorf("%d prices by lookup key, %v", n, it.Err())
	}
	if p := must(b.api.Products.Get("prod_pro", nil)); p.Name != "pro" || !p.Active {
		t.Errorf("product %+v", p)
	}
	yearly := must(b.api.Prices.Get("price_yearly", nil))
	if p := yearly; p.Product.ID != "prod_yearly" || p.Recurring.Interval != "year" {
		t.Errorf("price %+v", p)
	}
	products := b.api.Products.List(&stripe.ProductListParams{IDs: stripe.StringSlice([]string{"prod_team"})})
	if !products.Next() || products.Product().ID != "prod_team" || products.Next() {
		t.Error("products by id")
	}
	if a := must(b.api.Accounts.Get()); a.ID != b.ID() {
		t.Errorf("account %s", a.ID)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	for version, onItem := range map[string]bool{"2023-10-16": false, "2025-03-31.basil": true, "": true} {
		_, body, h := b.get("/v1/subscriptions/"+sub, "Stripe-Version", version)
		var s map[string]any
		must(0, json.Unmarshal([]byte(body), &s))
		item := s["items"].(map[string]any)["data"].([]any)[0].(map[string]any)
		if _, ok := s["current_period_end"]; ok == onItem {
			t.Errorf("version %q: period on the subscription is %v", version, ok)
		}
		if _, ok := item["current_period_end"]; ok != onItem {
			t.Errorf("version %q: period on the item is %v", version, ok)
		}
		if version != "" && h.Get("Stripe-Version") != version || !strings.HasPrefix(h.Get("Request-Id"), "req_") {
			t.Errorf("headers %v", h)
		}
	}
	if status, _, _ := b.get("/v1/subscriptions/"+sub, "Stripe-Version", "yesterday"); status != 400 {
		t.Errorf("bad version: %d", status)
	}
}

// TestGolden pins the shape of the objects against testdata.
func TestGolden(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 7})
	must(b.CreateCustomer(stripesim.CustomerParams{
		ID: "cus_a", Email: "ada@example.com", Metadata: map[string]string{"plan": "blue"},
	}))
	must(b.CreateSubscription(stripesim.SubscriptionParams{
		ID: "sub_a", Customer: "cus_a", Items: []stripesim.ItemParams{{Price: "price_pro", Quantity: 3}},
	}))
	for file, path := range map[string]string{
		"subscription.json": "/v1/subscriptions/sub_a?expand[]=customer.invoice_settings.default_payment_method",
		"customer.json":     "/v1/customers/cus_a",
	} {
		_, got, _ := b.get(path, "Stripe-Version", stripesim.PinnedVersion)
		name := "testdata/" + file
		if os.Getenv("UPDATE_GOLDEN") != "" {
			must(0, os.WriteFile(name, []byte(indent(got)), 0o644))
		}
		want := string(must(os.ReadFile(name)))
		if indent(got) != want {
			t.Errorf("%s differs:\n%s", name, indent(got))
		}
	}
}

func indent(body string) string {
	var v json.RawMessage
	must(0, json.Unmarshal([]byte(body), &v))
	return string(must(json.MarshalIndent(v, "", "  "))) + "\n"
}

func TestCustomerAndCatalogLists(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	for i := range 12 {
		must(b.CreateCustomer(stripesim.CustomerParams{
			ID: fmt.Sprintf("cus_%02d", i), Email: fmt.Sprintf("c%d@example.com", i%2), NoPaymentMethod: true,
		}))
	}
	p := &stripe.CustomerListParams{Email: stripe.String("c1@example.com")}
	p.Limit = stripe.Int64(4)
	n := 0
	for it := b.api.Customers.List(p); it.Next(); n++ {
	}
	if n != 6 {
		t.Errorf("%d customers by email, want 6", n)
	}
	must(0, b.UpdateProduct("prod_pro", "Professional", map[string]string{"tier": "2"}))
	must(0, b.UpdatePrice("price_pro", "pro_old", false))
	for query, want := range map[string]int{
		"/v1/prices?active=false": 1, "/v1/prices?product=prod_team": 1, "/v1/prices?type=one_time": 0,
		"/v1/prices?currency=eur": 0, "/v1/products?active=true": 4, "/v1/prices?limit=2&starting_after=price_free": 2,
		"/v1/products?ending_before=prod_free&limit=1": 1,
	} {
		_, body, _ := b.get(query)
		var list struct{ Data []json.RawMessage }
		must(0, json.Unmarshal([]byte(body), &list))
		if len(list.Data) != want {
			t.Errorf("%s: %d, want %d", query, len(list.Data), want)
		}
	}
	for query, param := range map[string]string{
		"/v1/prices?active=maybe": "active", "/v1/prices?type=gift": "type", "/v1/products?active=1": "active",
		"/v1/customers?starting_after=cus_x": "starting_after", "/v1/products?starting_after=prod_x": "starting_after",
		"/v1/prices?ending_before=price_x": "ending_before", "/v1/events?delivery_success=no": "delivery_success",
	} {
		if status, body, _ := b.get(query); status != 400 || !strings.Contains(body, `"param":"`+param+`"`) {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	if p := must(b.api.Products.Get("prod_pro", nil)); p.Name != "Professional" || p.Metadata["tier"] != "2" {
		t.Errorf("product %+v", p)
	}
	b.Connect("acct_shop")
	if all := b.Accounts(); len(all) != 2 || all[0].ID() != b.ID() || all[0].Livemode() || all[1].ID() != "acct_shop" {
		t.Errorf("accounts %v", all)
	}
}
