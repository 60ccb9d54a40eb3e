package stripesim

import (
	"strconv"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

func (v view) subscription(s *Subscription, x api.Expansion) *wire.Subscription {
	out := &wire.Subscription{
		ID: s.ID, Object: "subscription", BillingCycleAnchor: s.BillingCycleAnchor,
		CancelAt: wire.IntOrNull(s.CancelAt), CancelAtPeriodEnd: s.CancelAtPeriodEnd,
		CanceledAt:          wire.IntOrNull(s.CanceledAt),
		CancellationDetails: wire.Cancellation{Reason: wire.StrOrNull(s.CancellationReason)},
		CollectionMethod:    "charge_automatically", Created: s.Created, Currency: s.Currency,
		Customer: ref(s.Customer, x.Has("customer"), func() any {
			return v.customer(v.w.custs[s.Customer].asOf(v.at), x.Of("customer"))
		}),
		DefaultPaymentMethod: ref(s.DefaultPaymentMethod, x.Has("default_payment_method"), func() any {
			return v.method(v.w.methods[s.DefaultPaymentMethod].asOf(v.at), x.Of("default_payment_method"))
		}),
		DefaultTaxRates: []string{}, Discounts: []string{}, EndedAt: wire.IntOrNull(s.EndedAt),
		InvoiceSettings: wire.SubInvoiceSetting{Issuer: wire.Issuer{Type: "self"}},
		Livemode:        v.w.scope.live, Metadata: metadata(s.Metadata),
		PaymentSettings: wire.PaymentSettings{Save: "off"},
		StartDate:       s.Created, Status: s.Status,
		TrialEnd: wire.IntOrNull(s.TrialEnd), TrialStart: wire.IntOrNull(s.TrialStart),
	}
	out.TrialSettings.EndBehavior.MissingPaymentMethod = s.TrialEndBehavior
	if !v.basil {
		out.CurrentPeriodStart, out.CurrentPeriodEnd = &s.CurrentPeriodStart, &s.CurrentPeriodEnd
	}
	if s.PauseCollection != nil {
		out.PauseCollection = &wire.Pause{
			Behavior: s.PauseCollection.Behavior, ResumesAt: wire.IntOrNull(s.PauseCollection.ResumesAt),
		}
	}
	if s.invoice != nil {
		out.LatestInvoice = ref(s.invoice.id, x.Has("latest_invoice"), func() any {
			return v.invoice(s.invoice, x.Of("latest_invoice"))
		})
	}
	out.Items = v.inlineItems(s, x.Of("items"))
	if len(s.Items) == 1 {
		out.Plan = v.plan(v.w.prices[s.Items[0].Price].asOf(v.at))
		out.Quantity = &s.Items[0].Quantity
	}
	return out
}

// inlineItems renders the inline list of a subscription, which has at most [Config.InlineItems]
// items. GET /v1/subscription_items lists all.
func (v view) inlineItems(s *Subscription, x api.Expansion) wire.List {
	items := s.Items
	if limit := v.w.sim.cfg.InlineItems; !v.full && len(items) > limit {
		items = items[:limit]
	}
	data := make([]*wire.Item, len(items))
	for i := range items {
		data[i] = v.item(s, &items[i], x.Of("data"))
	}
	total := len(s.Items)
	return wire.List{
		Object: "list", Data: data, HasMore: len(items) < total, Total: &total,
		URL: "/v1/subscription_items?subscription=" + s.ID,
	}
}

func (v view) item(s *Subscription, it *Item, x api.Expansion) *wire.Item {
	price := v.w.prices[it.Price].asOf(v.at)
	out := &wire.Item{
		ID: it.ID, Object: "subscription_item", Created: it.Created, Discounts: []string{},
		Metadata: metadata(it.Metadata), Plan: v.plan(price), Price: v.price(price, x.Of("price")),
		Quantity: it.Quantity, Subscription: s.ID, TaxRates: []string{},
	}
	if v.basil {
		out.CurrentPeriodStart, out.CurrentPeriodEnd = &s.CurrentPeriodStart, &s.CurrentPeriodEnd
	}
	return out
}

func (v view) plan(p *price) *wire.Plan {
	return &wire.Plan{
		ID: p.ID, Object: "plan", Active: p.Active, Amount: p.UnitAmount,
		AmountDecimal: strconv.FormatInt(p.UnitAmount, 10), BillingScheme: "per_unit",
		Created: p.Created, Currency: p.Currency, Interval: p.Interval,
		IntervalCount: p.IntervalCount, Livemode: v.w.scope.live, Metadata: metadata(p.Metadata),
		Nickname: wire.StrOrNull(p.Nickname), Product: p.Product, UsageType: "licensed",
	}
}
