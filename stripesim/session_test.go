package stripesim_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func sessionOf(customer, price string) *stripe.CheckoutSessionParams {
	return &stripe.CheckoutSessionParams{
		Mode: stripe.String("subscription"), Customer: &customer,
		LineItems:  []*stripe.CheckoutSessionLineItemParams{{Price: &price, Quantity: stripe.Int64(3)}},
		SuccessURL: stripe.String("https://app.example/done?s={CHECKOUT_SESSION_ID}"),
		CancelURL:  stripe.String("https://app.example/back"),
		SubscriptionData: &stripe.CheckoutSessionSubscriptionDataParams{
			Metadata: map[string]string{"by": "test"},
		},
	}
}

// visit sends a form to a page, or reads it, and returns the status, the body and where it leads.
func visit(t *testing.T, page string, form url.Values) (int, string, string) {
	t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func() (*http.Response, error) { return c.Get(page) }
	if form != nil {
		get = func() (*http.Response, error) { return c.PostForm(page, form) }
	}
	resp := must(get())
	defer resp.Body.Close()
	return resp.StatusCode, string(must(io.ReadAll(resp.Body))), resp.Header.Get("Location")
}

func TestCheckoutSession(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	customer := must(b.api.Customers.New(newCustomer("42", ""))).ID
	s := must(b.api.CheckoutSessions.New(sessionOf(customer, "price_pro")))
	if s.Status != "open" || s.URL == "" || s.AmountTotal != 6000 || s.Customer.ID != customer || s.Subscription != nil {
		t.Fatalf("new session %+v", s)
	}
	if status, page, _ := visit(t, s.URL, nil); status != 200 || !strings.Contains(page, "3 × $20.00 every month") {
		t.Fatalf("%d %s", status, page)
	}
	// A declined card leaves it open, another card pays it.
	status, page, _ := visit(t, s.URL, url.Values{"card": {stripesim.DeclinedCard}})
	if status != http.StatusPaymentRequired || !strings.Contains(page, "Your card was declined.") {
		t.Fatalf("declined: %d %s", status, page)
	}
	if s = must(b.api.CheckoutSessions.Get(s.ID, nil)); s.Status != "open" {
		t.Fatalf("after the declined card the session is %s", s.Status)
	}
	status, _, to := visit(t, s.URL, url.Values{"card": {"4242"}})
	if status != http.StatusSeeOther || to != "https://app.example/done?s="+s.ID {
		t.Fatalf("paid: %d %s", status, to)
	}
	s = must(b.api.CheckoutSessions.Get(s.ID, nil))
	if s.Status != "complete" || s.URL != "" || s.PaymentStatus != "paid" || s.Subscription == nil {
		t.Fatalf("paid session %+v", s)
	}
	sub := must(b.api.Subscriptions.Get(s.Subscription.ID, nil))
	if sub.Status != "active" || sub.Customer.ID != customer || sub.Items.Data[0].Quantity != 3 ||
		sub.Metadata["by"] != "test" {
		t.Errorf("subscription %+v", sub)
	}
	subs := must(b.list(&stripe.SubscriptionListParams{Customer: &customer, Status: stripe.String("all")}))
	if len(subs) != 1 {
		t.Errorf("%d subscriptions", len(subs))
	}
	if got := b.kinds(); !slices.Contains(got, "invoice.payment_failed") ||
		!slices.Contains(got, "checkout.session.completed") {
		t.Errorf("events %v", got)
	}
	if _, page, _ := visit(t, b.url+"/_sim/pay/"+s.ID, nil); !strings.Contains(page, "This checkout is complete.") {
		t.Errorf("page of a paid session: %s", page)
	}
	if err := b.PaySession(s.ID, stripesim.PaymentMethodParams{}); err == nil {
		t.Error("a session was paid twice")
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	customer := b.customer("cus_1")
	list := func(status string) (ids []string) {
		it := b.api.CheckoutSessions.List(&stripe.CheckoutSessionListParams{Customer: &customer, Status: &status})
		for it.Next() {
			ids = append(ids, it.CheckoutSession().ID)
		}
		return ids
	}
	first := must(b.api.CheckoutSessions.New(sessionOf(customer, "price_pro"))).ID
	b.Advance(time.Hour)
	second := must(b.api.CheckoutSessions.New(sessionOf(customer, "price_pro"))).ID
	if got := list("open"); !slices.Equal(got, []string{second, first}) {
		t.Fatalf("open sessions %v", got)
	}
	b.Advance(23 * time.Hour)
	if got := list("expired"); !slices.Equal(got, []string{first}) {
		t.Errorf("expired after a day: %v", got)
	}
	if s := must(b.api.CheckoutSessions.Expire(second, nil)); s.Status != "expired" || s.URL != "" {
		t.Errorf("expired at once: %+v", s)
	}
	_, err := b.api.CheckoutSessions.Expire(second, nil)
	stripeError(t, err)
	n := 0
	for _, kind := range b.kinds() {
		if kind == "checkout.session.expired" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d events of sessions that expired", n)
	}
	for param, change := range map[string]func(*stripe.CheckoutSessionParams){
		"customer":             func(p *stripe.CheckoutSessionParams) { p.Customer = stripe.String("cus_none") },
		"line_items[0][price]": func(p *stripe.CheckoutSessionParams) { p.LineItems[0].Price = stripe.String("x") },
		"success_url":          func(p *stripe.CheckoutSessionParams) { p.SuccessURL = stripe.String("javascript:x") },
		"mode":                 func(p *stripe.CheckoutSessionParams) { p.Mode = stripe.String("payment") },
	} {
		p := sessionOf(customer, "price_pro")
		change(p)
		_, err := b.api.CheckoutSessions.New(p)
		if se := stripeError(t, err); se.HTTPStatusCode != 400 || se.Param != param {
			t.Errorf("%s: %v", param, se)
		}
	}
	trial := sessionOf(customer, "price_pro")
	trial.SubscriptionData.TrialPeriodDays = stripe.Int64(7)
	s := must(b.api.CheckoutSessions.New(trial))
	if err := b.PaySession(s.ID, stripesim.PaymentMethodParams{Last4: stripesim.DeclinedCard}); !errors.Is(err,
		stripesim.ErrDeclined) {
		t.Errorf("a trial with a declined card: %v", err)
	}
	if err := b.PaySession(s.ID, stripesim.PaymentMethodParams{}); err != nil {
		t.Fatal(err)
	}
	s = must(b.api.CheckoutSessions.Get(s.ID, nil))
	b.status(s.Subscription.ID, "trialing")
}

func TestPortal(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Seed: 1})
	customer := b.customer("cus_1")
	sub := b.subscribe(customer, "price_pro")
	other := b.subscribe(b.customer("cus_2"), "price_pro")
	p := must(b.api.BillingPortalSessions.New(&stripe.BillingPortalSessionParams{
		Customer: &customer, ReturnURL: stripe.String("https://app.example/account"),
	}))
	if _, page, _ := visit(t, p.URL, nil); !strings.Contains(page, sub) || strings.Contains(page, other) ||
		!strings.Contains(page, "https://app.example/account") {
		t.Fatalf("%s", page)
	}
	do := func(want int, form ...string) {
		t.Helper()
		v := url.Values{"subscription": {sub}}
		for i := 0; i < len(form); i += 2 {
			v.Set(form[i], form[i+1])
		}
		if status, page, _ := visit(t, p.URL, v); status != want {
			t.Errorf("%v: %d %s", form, status, page)
		}
	}
	get := func() *stripe.Subscription { return must(b.api.Subscriptions.Get(sub, nil)) }
	do(303, "do", "quantity", "quantity", "5", "item", get().Items.Data[0].ID)
	if n := get().Items.Data[0].Quantity; n != 5 {
		t.Errorf("quantity %d", n)
	}
	do(400, "do", "quantity", "quantity", "-5", "item", get().Items.Data[0].ID)
	do(303, "do", "cancel_at_period_end")
	if !get().CancelAtPeriodEnd {
		t.Error("it is not cancelled at the end of the period")
	}
	if _, page, _ := visit(t, p.URL, nil); !strings.Contains(page, "Ends on 28 February 2026") {
		t.Errorf("%s", page)
	}
	do(303, "do", "renew")
	if get().CancelAtPeriodEnd {
		t.Error("it is still cancelled")
	}
	do(400, "do", "cancel", "subscription", other)
	do(303, "do", "card", "card", stripesim.DeclinedCard)
	do(303, "do", "wait")
	b.status(sub, "past_due")
	do(303, "do", "card", "card", "4242")
	b.status(sub, "active")
	do(303, "do", "cancel")
	b.status(sub, "canceled")
	b.status(other, "active")
	must(b.api.Subscriptions.Cancel(other, nil))
	b.status(other, "canceled")
	if !slices.Contains(b.kinds(), "billing_portal.session.created") {
		t.Error("no event of the portal's session")
	}
}
