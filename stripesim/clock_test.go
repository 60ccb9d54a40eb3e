package stripesim_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"entitled/stripesim"
)

const day = 24 * time.Hour

// since returns the event types after the first n.
func (b *bench) since(n int) []string { return b.kinds()[n:] }

func (b *bench) saw(n int, kinds ...string) {
	b.t.Helper()
	for _, k := range kinds {
		if !slices.Contains(b.since(n), k) {
			b.t.Errorf("no %s among %v", k, b.since(n))
		}
	}
}

func TestRenewalKeepsTheDayOfTheMonth(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	sub := b.subscribe(b.customer("cus_a"), "price_pro")
	n := len(b.kinds())
	for _, want := range []string{"2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"} {
		s, _ := b.Subscription(sub)
		if got := time.Unix(s.CurrentPeriodEnd, 0).UTC().Format(time.DateOnly); got != want {
			t.Fatalf("period ends %s, want %s", got, want)
		}
		b.AdvanceTo(time.Unix(s.CurrentPeriodEnd, 0))
	}
	b.saw(n, "customer.subscription.updated", "invoice.created")
	b.status(sub, "active")
	b.Advance(time.Hour)
	b.saw(n, "invoice.finalized", "invoice.paid", "invoice.payment_succeeded", "charge.succeeded")
}

func TestTrials(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		behavior string
		method   bool
		fail     bool
		want     string
		event    string
	}{
		"paid":           {"", true, false, "active", "invoice.paid"},
		"card fails":     {"", true, true, "past_due", "invoice.payment_failed"},
		"no card":        {"create_invoice", false, false, "past_due", "invoice.payment_failed"},
		"no card pause":  {"pause", false, false, "paused", "customer.subscription.paused"},
		"no card cancel": {"cancel", false, false, "canceled", "customer.subscription.deleted"},
	} {
		b := setup(t, stripesim.Config{})
		c := must(b.CreateCustomer(stripesim.CustomerParams{NoPaymentMethod: !tc.method}))
		sub := must(b.CreateSubscription(stripesim.SubscriptionParams{
			Customer: c, Items: []stripesim.ItemParams{{Price: "price_pro"}},
			TrialDays: 14, TrialEndBehavior: tc.behavior,
		}))
		if tc.fail {
			must(0, b.FailPayments(c))
		}
		n := len(b.kinds())
		b.Advance(11*day - time.Second)
		if len(b.since(n)) != 0 {
			t.Errorf("%s: too soon: %v", name, b.since(n))
		}
		b.Advance(time.Second)
		b.saw(n, "customer.subscription.trial_will_end")
		b.status(sub, "trialing")
		b.Advance(3*day + time.Hour)
		b.status(sub, tc.want)
		b.saw(n, tc.event)
		if tc.want == "paused" {
			if _, err := b.AttachPaymentMethod(c, stripesim.PaymentMethodParams{}, true); err != nil {
				t.Fatal(err)
			}
			must(0, b.Resume(sub))
			b.status(sub, "active")
			b.saw(n, "customer.subscription.resumed")
		}
	}
}

func TestDunning(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"canceled", "unpaid", "past_due"} {
		b := setup(t, stripesim.Config{AfterDunning: after, Dunning: []time.Duration{2 * day, 3 * day}})
		c := b.customer("cus_a")
		sub := b.subscribe(c, "price_pro")
		must(0, b.FailPayments(c))
		n := len(b.kinds())
		b.Advance(28*day + time.Hour - time.Second)
		b.status(sub, "active")
		b.Advance(time.Second)
		b.status(sub, "past_due")
		b.saw(n, "invoice.payment_failed", "customer.updated")
		b.Advance(5*day - time.Second)
		b.status(sub, "past_due")
		b.Advance(time.Second)
		b.status(sub, after)
		if after == "canceled" {
			continue
		}
		must(0, b.RecoverPayments(c))
		b.status(sub, "active")
		if truth, _ := b.Truth(c); truth.Customer.Delinquent {
			t.Error("still delinquent")
		}
	}
}

func TestRecoveryOnTheNextAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := must(b.CreateCustomer(stripesim.CustomerParams{ID: "cus_a"}))
	sub := b.subscribe(c, "price_pro")
	must(0, b.FailPayments(c))
	b.Advance(29 * day)
	b.status(sub, "past_due")
	must(0, b.RecoverPayments(c))
	b.status(sub, "active")
	b.Advance(20 * day)
	b.status(sub, "active")
}

func TestIncomplete(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	pending := func() string {
		return must(b.CreateSubscription(stripesim.SubscriptionParams{
			Customer: c, Items: []stripesim.ItemParams{{Price: "price_pro"}}, DefaultIncomplete: true,
		}))
	}
	paid, late := pending(), pending()
	b.status(paid, "incomplete")
	n := len(b.kinds())
	must(0, b.PayInvoice(paid))
	b.status(paid, "active")
	b.saw(n, "customer.subscription.updated", "entitlements.active_entitlement_summary.updated")
	b.Advance(23*time.Hour - time.Second)
	b.status(late, "incomplete")
	b.Advance(time.Second)
	b.status(late, "incomplete_expired")
	must(0, b.FailPayments(c))
	failed := b.subscribe(c, "price_pro")
	b.status(failed, "incomplete")
	poor := must(b.CreateCustomer(stripesim.CustomerParams{NoPaymentMethod: true}))
	items := []stripesim.ItemParams{{Price: "price_pro"}}
	if _, err := b.CreateSubscription(stripesim.SubscriptionParams{Customer: poor, Items: items}); err == nil {
		t.Error("subscribed without a payment method")
	}
}

func TestCancellations(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	atEnd, at := b.subscribe(c, "price_pro"), b.subscribe(c, "price_pro")
	undone, nowSub := b.subscribe(c, "price_pro"), b.subscribe(c, "price_pro")
	must(0, b.CancelAtPeriodEnd(atEnd))
	must(0, b.CancelAt(at, start.Add(10*day)))
	must(0, b.CancelAtPeriodEnd(undone))
	must(0, b.UndoCancel(undone))
	must(0, b.Cancel(nowSub))
	if err := b.CancelAt(atEnd, start); err == nil {
		t.Error("cancel_at in the past")
	}
	if err := b.Cancel(nowSub); err == nil {
		t.Error("canceled twice")
	}
	s, _ := b.Subscription(atEnd)
	if s.CanceledAt != start.Unix() || s.CancelAt != s.CurrentPeriodEnd || !s.CancelAtPeriodEnd {
		t.Errorf("canceling %+v", s)
	}
	b.status(nowSub, "canceled")
	b.Advance(10*day - time.Second)
	b.status(at, "active")
	b.Advance(time.Second)
	b.status(at, "canceled")
	n := len(b.kinds())
	b.Advance(18 * day)
	b.status(atEnd, "canceled")
	b.saw(n, "customer.subscription.deleted")
	if s, _ = b.Subscription(atEnd); s.EndedAt != s.CurrentPeriodEnd || s.CanceledAt != start.Unix() {
		t.Errorf("ended %+v", s)
	}
	b.status(undone, "active")
}

func TestChangesOfItems(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	b.Advance(time.Hour)
	n := len(b.kinds())
	must(0, b.ChangePrice(sub, "price_team"))
	b.saw(n, "invoiceitem.created", "customer.subscription.updated", "entitlements.active_entitlement_summary.updated")
	item := must(b.AddItem(sub, stripesim.ItemParams{Price: "price_pro"}))
	must(0, b.SetQuantity(sub, item, 7))
	s, _ := b.Subscription(sub)
	if len(s.Items) != 2 || s.Items[1].Quantity != 7 || s.CurrentPeriodStart != start.Unix() {
		t.Errorf("items %+v", s)
	}
	if err := b.ChangePrice(sub, "price_yearly"); err == nil {
		t.Error("mixed intervals were accepted")
	}
	must(0, b.RemoveItem(sub, item))
	if err := b.RemoveItem(sub, s.Items[0].ID); err == nil {
		t.Error("the last item was removed")
	}
	must(0, b.ChangePrice(sub, "price_yearly"))
	s, _ = b.Subscription(sub)
	changed := start.Add(time.Hour)
	if s.CurrentPeriodStart != changed.Unix() || s.CurrentPeriodEnd != changed.AddDate(1, 0, 0).Unix() {
		t.Errorf("yearly %+v", s)
	}
}

func TestPauseCollection(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	must(0, b.PauseCollection(sub, "void", start.Add(40*day)))
	n := len(b.kinds())
	b.Advance(30 * day)
	b.saw(n, "invoice.voided")
	b.status(sub, "active")
	if s := must(b.api.Subscriptions.Get(sub, nil)); s.PauseCollection.Behavior != "void" {
		t.Errorf("pause %+v", s.PauseCollection)
	}
	b.Advance(11 * day)
	if s, _ := b.Subscription(sub); s.PauseCollection != nil {
		t.Error("did not resume")
	}
	must(0, b.PauseCollection(sub, "keep_as_draft", time.Time{}))
	must(0, b.ResumeCollection(sub))
	if err := b.PauseCollection(sub, "nap", time.Time{}); err == nil {
		t.Error("unknown behavior accepted")
	}
}

func TestDetachClearsDefaults(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	m := must(b.AttachPaymentMethod(c, stripesim.PaymentMethodParams{Brand: "amex", Last4: "0005"}, true))
	must(0, b.SetDefaultPaymentMethod(sub, m))
	p := listOf(c, "")
	p.AddExpand("data.default_payment_method")
	if pm := must(b.list(p))[0].DefaultPaymentMethod; pm.Card.Last4 != "0005" || string(pm.Card.Brand) != "amex" {
		t.Errorf("payment method %+v", pm)
	}
	must(0, b.DetachPaymentMethod(m))
	if s, _ := b.Subscription(sub); s.DefaultPaymentMethod != "" {
		t.Error("the subscription still names it")
	}
	if truth, _ := b.Truth(c); truth.Customer.DefaultPaymentMethod != "" {
		t.Error("the customer still names it")
	}
}

// TestTimePassesInOrder advances two accounts at once: the events of each are in order of time.
func TestTimePassesInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	conn := b.Connect("acct_shop")
	b.catalog(conn)
	for i := range 5 {
		b.subscribe(must(b.CreateCustomer(stripesim.CustomerParams{})), "price_pro")
		c := must(conn.CreateCustomer(stripesim.CustomerParams{}))
		must(conn.CreateSubscription(stripesim.SubscriptionParams{
			Customer: c, Items: []stripesim.ItemParams{{Price: "price_team"}},
		}))
		b.Advance(time.Duration(i) * time.Hour)
	}
	b.Advance(100 * day)
	for _, a := range []*stripesim.Account{b.Account, conn} {
		byTime := func(x, y stripesim.EventInfo) int { return x.Created.Compare(y.Created) }
		if !slices.IsSortedFunc(a.Events(), byTime) {
			t.Error("events are out of order")
		}
	}
	if !b.Now().Equal(start.Add(100*day + 10*time.Hour)) {
		t.Errorf("now %v", b.Now())
	}
}

func TestLiveMovesTheClock(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with cancel
		defer close(done)
		b.Live(ctx, 3600*24)
	}()
	for b.Now().Sub(start) < time.Hour {
		b.get("/v1/customers")
	}
	cancel()
	<-done
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		interval string
		count    int64
		want     []string // of the first ends
	}{
		{"day", 10, []string{"2024-03-10", "2024-03-20"}},
		{"week", 2, []string{"2024-03-14", "2024-03-28"}},
		{"month", 3, []string{"2024-05-29", "2024-08-29"}},
		{"year", 1, []string{"2025-02-28", "2026-02-28"}},
	} {
		b := setup(t, stripesim.Config{Start: time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), InvoiceDelay: -1})
		price := must(b.CreatePrice(stripesim.PriceParams{
			Product: "prod_pro", UnitAmount: 5, Interval: tc.interval, IntervalCount: tc.count,
		}))
		sub := b.subscribe(b.customer("cus_a"), price)
		for _, want := range tc.want {
			s, _ := b.Subscription(sub)
			end := time.Unix(s.CurrentPeriodEnd, 0).UTC()
			if got := end.Format(time.DateOnly); got != want {
				t.Errorf("%d %s: ends %s, want %s", tc.count, tc.interval, got, want)
			}
			n := len(b.kinds())
			b.AdvanceTo(end)
			b.saw(n, "invoice.paid") // charged at once
		}
	}
	b := setup(t, stripesim.Config{})
	if _, err := b.CreatePrice(stripesim.PriceParams{Product: "prod_pro", Interval: "decade"}); err == nil {
		t.Error("unknown interval accepted")
	}
}
