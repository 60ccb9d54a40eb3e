package stripesim_test

import (
	"strings"
	"testing"

	"entitled/stripesim"
)

// The features of an account are listed, newest first, once a product has had them.
func TestListFeatures(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	list := func(query string) string {
		t.Helper()
		status, body, _ := b.get("/v1/entitlements/features"+query, "Authorization", "Bearer sk_test_abc")
		if status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return string(body)
	}
	other := b.Connect("acct_none")
	must(other.CreateCustomer(stripesim.CustomerParams{}))
	_, body, _ := b.get("/v1/entitlements/features", "Authorization", "Bearer sk_test_abc", "Stripe-Account", "acct_none")
	if !strings.Contains(string(body), `"data":[]`) {
		t.Errorf("an account without features: %s", body)
	}
	product := must(b.CreateProduct(stripesim.ProductParams{Features: []string{"f_old"}}))
	if err := b.SetProductFeatures(product, "f_new"); err != nil {
		t.Fatal(err)
	}
	if all := list("?limit=100"); strings.Index(all, "f_new") > strings.Index(all, "f_old") ||
		!strings.Contains(all, `"object":"entitlements.feature"`) {
		t.Errorf("%s", all)
	}
	if one := list("?limit=1"); strings.Contains(one, "f_old") || !strings.Contains(one, `"has_more":true`) {
		t.Errorf("%s", one)
	}
	if one := list("?lookup_key=f_old"); strings.Contains(one, "f_new") || !strings.Contains(one, "f_old") {
		t.Errorf("%s", one)
	}
	if none := list("?archived=true"); strings.Contains(none, "f_old") {
		t.Errorf("%s", none)
	}
}
