package gateway

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/checkout"
	"entitled/internal/gateway/decision"
	"entitled/stripesim"
)

const purchase = `{"price":"price_pro_monthly","allow_second":true,"success_url":"` + page + `/ok","cancel_url":"` +
	page + `/no"}`

// sells gives a rig a simulated Stripe that has the customer cus_1.
func (r *rig) sells(t testing.TB) *stripesim.Sim {
	t.Helper()
	sim := stripesim.New(stripesim.Config{Seed: 1})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	t.Cleanup(sim.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	_, err := sim.CreateCustomer(stripesim.CustomerParams{ID: "cus_1", Metadata: map[string]string{"user_id": "user_1"}})
	if err != nil {
		t.Fatal(err)
	}
	r.source.doc.IDName = "user_id"
	r.cfg.Checkout = checkout.New(checkout.Config{Mode: entitlement.Test, Key: "rk_test_x", Base: srv.URL,
		Origins: []string{page}, Rate: 1e6})
	r.source.sync = func(ref string) (entitlement.Snapshot, error) {
		s := paying(strings.TrimPrefix(ref, "key:"), "new")
		truth, _ := sim.Truth(s.Customer)
		s.ID, s.Status = truth.Customer.Metadata["user_id"], "none"
		return s, nil
	}
	return sim
}

func TestCheckoutRoutes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sim := r.sells(t)
	const route = "/v1/customers/"
	a := get[checkout.Answer](t, r.ask("POST", route+"new%20user/checkout", serverKey, purchase))
	truth, _ := sim.Truth(a.Customer)
	if truth.Customer.Metadata["user_id"] != "new user" || a.URL == "" {
		t.Fatalf("%+v %+v", a, truth.Customer)
	}
	// The page after the checkout comes before the bucket has the customer.
	sim.Advance(1e11)
	d := get[decision.Decision](t, r.ask("POST", route+"new%20user/sync", serverKey, ""))
	if d.Customer != a.Customer || !d.Known {
		t.Errorf("the decision is %+v", d)
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"403 a token":        r.ask("POST", route+"me/checkout", r.token(t, set("sub", "user_1")), purchase),
		"403 a reading key":  r.ask("POST", route+"user_1/checkout", readKey, purchase),
		"400 a key":          r.ask("POST", route+"cus_1/checkout", serverKey, purchase),
		"400 a key as an id": r.ask("POST", route+"id:cus_1/checkout", serverKey, purchase),
		"400 a foreign page": r.ask("POST", route+"user_1/checkout", serverKey,
			strings.ReplaceAll(purchase, page, "https://x")),
		"404 nobody": r.ask("POST", route+"nobody/sync", serverKey, ""),
	} {
		if want := name[:3]; want != w.Result().Status[:3] {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	r.source.set(func() { r.source.doc.HasIDs = false })
	if w := r.ask("POST", route+"user_1/checkout", serverKey, purchase); !strings.Contains(w.Body.String(), "no_ids") {
		t.Errorf("without ids: %s", w.Body)
	}
	// A gateway that has just started does not know yet whether it could look for the customer.
	r.source.set(func() { r.source.docErr = errors.New("not read yet") })
	if w := r.ask("POST", route+"nobody/sync", serverKey, ""); w.Code != 503 ||
		!strings.Contains(w.Body.String(), "no_document") {
		t.Errorf("before the document is read: %d %s", w.Code, w.Body)
	}
}
