package stripesim

import (
	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
	"entitled/stripesim/internal/wire"
)

// The objects below exist only in events and, for an invoice, as an expanded latest_invoice.

func (v view) invoice(i *invoice, x api.Expansion) *wire.Invoice {
	out := &wire.Invoice{
		ID: i.id, Object: "invoice", AmountDue: i.amount, AmountRemaining: i.amount,
		AttemptCount: i.attempts, Attempted: i.attempts > 0, AutoAdvance: i.status == "open",
		BillingReason: i.reason, CollectionMethod: "charge_automatically", Created: i.created,
		Currency: i.currency,
		Customer: ref(i.customer, x.Has("customer"), func() any {
			return v.customer(v.w.custs[i.customer].asOf(v.at), x.Of("customer"))
		}),
		Livemode: v.w.scope.live, Metadata: map[string]string{}, NextPaymentAttempt: wire.IntOrNull(i.finalizeAt),
		PeriodStart: i.periodStart, PeriodEnd: i.periodEnd,
		Status: i.status, Subtotal: i.amount, Total: i.amount,
	}
	if i.status != "draft" {
		out.Number = wire.StrOrNull(prefixOf(i.id) + "-0001")
	}
	if i.status == "paid" {
		out.AmountPaid, out.AmountRemaining = i.amount, 0
	}
	out.Lines = wire.List{Object: "list", URL: "/v1/invoices/" + i.id + "/lines", Data: []wire.Line{{
		ID: "il" + i.id[2:], Object: "line_item", Amount: i.amount, Currency: i.currency,
		Livemode: v.w.scope.live, Period: wire.Period{Start: i.periodStart, End: i.periodEnd}, Quantity: 1,
	}}}
	if v.basil {
		out.Parent = &wire.InvoiceParent{Type: "subscription_details"}
		out.Parent.Details.Metadata, out.Parent.Details.Subscription = map[string]string{}, i.subscription
		return out
	}
	paid := i.status == "paid"
	out.Paid, out.PaymentIntent, out.Subscription = &paid, wire.StrOrNull(i.paymentIntent), i.subscription
	return out
}

func (t *tx) wireIntent(rec *subRecord, i *invoice, status string) *wire.Intent {
	out := &wire.Intent{
		ID: i.paymentIntent, Object: "payment_intent", Amount: i.amount, Created: i.created,
		Currency: i.currency, Customer: wire.StrOrNull(i.customer), Livemode: t.scope.live,
		Metadata: map[string]string{}, PaymentMethod: wire.StrOrNull(t.methodFor(rec)),
		Types: []string{"card"}, Status: status,
	}
	if status == "succeeded" {
		out.AmountReceived = i.amount
	}
	return out
}

func (t *tx) methodFor(rec *subRecord) string {
	if m := rec.get().DefaultPaymentMethod; m != "" {
		return m
	}
	return rec.owner.get().DefaultPaymentMethod
}

func (t *tx) wireCharge(rec *subRecord, i *invoice, ok bool) *wire.Charge {
	out := &wire.Charge{
		ID: ids.New(t.rng, "ch_3", 23), Object: "charge", Amount: i.amount, Captured: ok, Created: t.now,
		Currency: i.currency, Customer: wire.StrOrNull(i.customer), Livemode: t.scope.live,
		Metadata: map[string]string{}, Paid: ok, PaymentIntent: wire.StrOrNull(i.paymentIntent),
		PaymentMethod: wire.StrOrNull(t.methodFor(rec)), Status: "succeeded",
	}
	if !ok {
		out.Status, out.FailureCode = "failed", wire.StrOrNull("card_declined")
	}
	return out
}

// wireProration renders the credit (sign -1) or the debit (sign 1) for the remaining time of the
// current period.
func (t *tx) wireProration(rec *subRecord, p *price, sign int64) *wire.Proration {
	s := rec.get()
	rest, whole := max(s.CurrentPeriodEnd-t.now, 0), max(s.CurrentPeriodEnd-s.CurrentPeriodStart, 1)
	return &wire.Proration{
		ID: ids.New(t.rng, "ii_1", 23), Object: "invoiceitem", Currency: p.Currency, Customer: s.Customer,
		Amount: sign * p.UnitAmount * s.Items[0].Quantity * rest / whole, Date: t.now, Livemode: t.scope.live,
		Period: wire.Period{Start: t.now, End: s.CurrentPeriodEnd}, Proration: true, Subscription: s.ID,
	}
}
