package stripesim_test

import (
	"strings"
	"testing"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	b.subscribe(c, "price_pro")
	for auth, want := range map[string]int{
		"Bearer sk_test_abc": 200, "Bearer rk_test_abc": 200, "Basic c2tfdGVzdF9hYmM6": 200, // sk_test_abc:
		"": 401, "Bearer ": 401, "Bearer pk_test_abc": 401, "Bearer sk_abc": 401,
	} {
		status, body, _ := b.get("/v1/subscriptions", "Authorization", auth)
		if status != want {
			t.Errorf("%q: %d %s", auth, status, body)
		}
	}
	b.SetKeys(
		stripesim.Key{Secret: "sk_test_known12345678"},
		stripesim.Key{
			Secret: "rk_test_reader12345678", Permissions: []string{"rak_subscription_read", "rak_customer_write"},
		},
		stripesim.Key{Secret: "sk_test_old123456789", Expired: true},
	)
	_, err := b.list(listOf(c, ""))
	if se := stripeError(t, err); se.HTTPStatusCode != 401 || !strings.Contains(se.Msg, "Invalid API Key provided") {
		t.Errorf("unknown key: %v", se)
	}
	b.api = b.client("sk_test_old123456789")
	_, err = b.list(listOf(c, ""))
	if se := stripeError(t, err); se.HTTPStatusCode != 401 || se.Code != "api_key_expired" {
		t.Errorf("expired key: %v", se)
	}
	b.api = b.client("rk_test_reader12345678")
	p := listOf(c, "")
	p.AddExpand("data.customer") // a write permission reads too
	if _, err := b.list(p); err != nil {
		t.Errorf("permitted: %v", err)
	}
	it := b.api.EntitlementsActiveEntitlements.List(&stripe.EntitlementsActiveEntitlementListParams{
		Customer: stripe.String(c),
	})
	it.Next()
	se := stripeError(t, it.Err())
	const having = "Having the 'rak_entitlement_read' permission would allow this request to continue"
	if se.HTTPStatusCode != 403 || !strings.Contains(se.Msg, having) {
		t.Errorf("not permitted: %v", se)
	}
	if strings.Contains(se.Msg, "reader1234") || !strings.Contains(se.Msg, b.ID()) {
		t.Errorf("message %q", se.Msg)
	}
	p.AddExpand("data.default_payment_method")
	_, err = b.list(p)
	if se := stripeError(t, err); se.HTTPStatusCode != 403 || !strings.Contains(se.Msg, "rak_payment_method_read") {
		t.Errorf("expansion without permission: %v", se)
	}
}

func TestModesAndAccountsAreApart(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	conn := b.Connect("acct_shop")
	live := b.InMode(true)
	b.catalog(conn)
	b.catalog(live)
	for _, a := range []*stripesim.Account{b.Account, conn, live} {
		must(a.CreateCustomer(stripesim.CustomerParams{ID: "cus_same"}))
	}
	items := []stripesim.ItemParams{{Price: "price_pro"}}
	must(conn.CreateSubscription(stripesim.SubscriptionParams{ID: "sub_shop", Customer: "cus_same", Items: items}))
	must(live.CreateSubscription(stripesim.SubscriptionParams{ID: "sub_live", Customer: "cus_same", Items: items}))
	list := func(key, account string) []string {
		b.api = b.client(key)
		p := listOf("cus_same", "all")
		if account != "" {
			p.SetStripeAccount(account)
		}
		return ids(must(b.list(p)))
	}
	if got := list("sk_test_abc", ""); len(got) != 0 {
		t.Errorf("platform, test: %v", got)
	}
	if got := list("sk_test_abc", "acct_shop"); len(got) != 1 || got[0] != "sub_shop" {
		t.Errorf("connected: %v", got)
	}
	if got := list("sk_live_abc", ""); len(got) != 1 || got[0] != "sub_live" {
		t.Errorf("live: %v", got)
	}
	for _, id := range []string{"acct_unknown", "acct_shop"} {
		b.Revoke("acct_shop")
		p := listOf("cus_same", "")
		p.SetStripeAccount(id)
		_, err := b.list(p)
		if se := stripeError(t, err); se.HTTPStatusCode != 403 || se.Code != "account_invalid" {
			t.Errorf("%s: %v", id, se)
		}
	}
	b.Connect("acct_shop")
	if got := list("sk_test_abc", "acct_shop"); len(got) != 1 {
		t.Errorf("restored: %v", got)
	}
	if n := len(b.Customers()); n != 3 {
		t.Errorf("%d customers over all accounts, want 3", n)
	}
}
