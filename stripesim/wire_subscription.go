package stripesim

import "strconv"

type subscriptionJSON struct {
	ID                    string            `json:"id"`
	Object                string            `json:"object"`
	Application           *string           `json:"application"`
	ApplicationFeePercent *float64          `json:"application_fee_percent"`
	AutomaticTax          automaticTax      `json:"automatic_tax"`
	BillingCycleAnchor    int64             `json:"billing_cycle_anchor"`
	AnchorConfig          *struct{}         `json:"billing_cycle_anchor_config"`
	BillingThresholds     *struct{}         `json:"billing_thresholds"`
	CancelAt              *int64            `json:"cancel_at"`
	CancelAtPeriodEnd     bool              `json:"cancel_at_period_end"`
	CanceledAt            *int64            `json:"canceled_at"`
	CancellationDetails   cancellation      `json:"cancellation_details"`
	CollectionMethod      string            `json:"collection_method"`
	Created               int64             `json:"created"`
	Currency              string            `json:"currency"`
	CurrentPeriodEnd      *int64            `json:"current_period_end,omitempty"`
	CurrentPeriodStart    *int64            `json:"current_period_start,omitempty"`
	Customer              any               `json:"customer"`
	DaysUntilDue          *int64            `json:"days_until_due"`
	DefaultPaymentMethod  any               `json:"default_payment_method"`
	DefaultSource         *string           `json:"default_source"`
	DefaultTaxRates       []string          `json:"default_tax_rates"`
	Description           *string           `json:"description"`
	Discounts             []string          `json:"discounts"`
	EndedAt               *int64            `json:"ended_at"`
	InvoiceSettings       subInvoiceSetting `json:"invoice_settings"`
	Items                 listJSON          `json:"items"`
	LatestInvoice         any               `json:"latest_invoice"`
	Livemode              bool              `json:"livemode"`
	Metadata              map[string]string `json:"metadata"`
	NextPending           *int64            `json:"next_pending_invoice_item_invoice"`
	OnBehalfOf            *string           `json:"on_behalf_of"`
	PauseCollection       *pauseJSON        `json:"pause_collection"`
	PaymentSettings       paymentSettings   `json:"payment_settings"`
	PendingInterval       *struct{}         `json:"pending_invoice_item_interval"`
	PendingSetupIntent    *string           `json:"pending_setup_intent"`
	PendingUpdate         *struct{}         `json:"pending_update"`
	Plan                  *planJSON         `json:"plan,omitempty"`
	Quantity              *int64            `json:"quantity,omitempty"`
	Schedule              *string           `json:"schedule"`
	StartDate             int64             `json:"start_date"`
	Status                string            `json:"status"`
	TestClock             *string           `json:"test_clock"`
	TransferData          *struct{}         `json:"transfer_data"`
	TrialEnd              *int64            `json:"trial_end"`
	TrialSettings         trialSettings     `json:"trial_settings"`
	TrialStart            *int64            `json:"trial_start"`
}

type automaticTax struct {
	Enabled   bool      `json:"enabled"`
	Liability *struct{} `json:"liability"`
}

type cancellation struct {
	Comment  *string `json:"comment"`
	Feedback *string `json:"feedback"`
	Reason   *string `json:"reason"`
}

type subInvoiceSetting struct {
	AccountTaxIDs []string `json:"account_tax_ids"`
	Issuer        issuer   `json:"issuer"`
}

type issuer struct {
	Type string `json:"type"`
}

type pauseJSON struct {
	Behavior  string `json:"behavior"`
	ResumesAt *int64 `json:"resumes_at"`
}

type paymentSettings struct {
	Options *struct{} `json:"payment_method_options"`
	Types   []string  `json:"payment_method_types"`
	Save    string    `json:"save_default_payment_method"`
}

type trialSettings struct {
	EndBehavior struct {
		MissingPaymentMethod string `json:"missing_payment_method"`
	} `json:"end_behavior"`
}

func (v view) subscription(s *Subscription, x expansion) *subscriptionJSON {
	out := &subscriptionJSON{
		ID: s.ID, Object: "subscription", BillingCycleAnchor: s.BillingCycleAnchor,
		CancelAt: intOrNull(s.CancelAt), CancelAtPeriodEnd: s.CancelAtPeriodEnd,
		CanceledAt:          intOrNull(s.CanceledAt),
		CancellationDetails: cancellation{Reason: strOrNull(s.CancellationReason)},
		CollectionMethod:    "charge_automatically", Created: s.Created, Currency: s.Currency,
		Customer: ref(s.Customer, x.has("customer"), func() any {
			return v.customer(v.w.custs[s.Customer].asOf(v.at), x.of("customer"))
		}),
		DefaultPaymentMethod: ref(s.DefaultPaymentMethod, x.has("default_payment_method"), func() any {
			return v.method(v.w.methods[s.DefaultPaymentMethod].asOf(v.at), x.of("default_payment_method"))
		}),
		DefaultTaxRates: []string{}, Discounts: []string{}, EndedAt: intOrNull(s.EndedAt),
		InvoiceSettings: subInvoiceSetting{Issuer: issuer{Type: "self"}},
		Livemode:        v.w.scope.live, Metadata: metadata(s.Metadata),
		PaymentSettings: paymentSettings{Save: "off"},
		StartDate:       s.Created, Status: s.Status,
		TrialEnd: intOrNull(s.TrialEnd), TrialStart: intOrNull(s.TrialStart),
	}
	out.TrialSettings.EndBehavior.MissingPaymentMethod = s.TrialEndBehavior
	if !v.basil {
		out.CurrentPeriodStart, out.CurrentPeriodEnd = &s.CurrentPeriodStart, &s.CurrentPeriodEnd
	}
	if s.PauseCollection != nil {
		out.PauseCollection = &pauseJSON{s.PauseCollection.Behavior, intOrNull(s.PauseCollection.ResumesAt)}
	}
	if s.invoice != nil {
		out.LatestInvoice = ref(s.invoice.id, x.has("latest_invoice"), func() any {
			return v.invoice(s.invoice, x.of("latest_invoice"))
		})
	}
	out.Items = v.inlineItems(s, x.of("items"))
	if len(s.Items) == 1 {
		out.Plan = v.plan(v.w.prices[s.Items[0].Price].asOf(v.at))
		out.Quantity = &s.Items[0].Quantity
	}
	return out
}

// inlineItems renders the inline list of a subscription, which has at most [Config.InlineItems]
// items. GET /v1/subscription_items lists all.
func (v view) inlineItems(s *Subscription, x expansion) listJSON {
	items := s.Items
	if limit := v.w.sim.cfg.InlineItems; !v.full && len(items) > limit {
		items = items[:limit]
	}
	data := make([]*itemJSON, len(items))
	for i := range items {
		data[i] = v.item(s, &items[i], x.of("data"))
	}
	total := len(s.Items)
	return listJSON{
		Object: "list", Data: data, HasMore: len(items) < total, Total: &total,
		URL: "/v1/subscription_items?subscription=" + s.ID,
	}
}

type itemJSON struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	BillingThresholds  *struct{}         `json:"billing_thresholds"`
	Created            int64             `json:"created"`
	CurrentPeriodEnd   *int64            `json:"current_period_end,omitempty"`
	CurrentPeriodStart *int64            `json:"current_period_start,omitempty"`
	Discounts          []string          `json:"discounts"`
	Metadata           map[string]string `json:"metadata"`
	Plan               *planJSON         `json:"plan"`
	Price              *priceJSON        `json:"price"`
	Quantity           int64             `json:"quantity"`
	Subscription       string            `json:"subscription"`
	TaxRates           []string          `json:"tax_rates"`
}

func (v view) item(s *Subscription, it *Item, x expansion) *itemJSON {
	price := v.w.prices[it.Price].asOf(v.at)
	out := &itemJSON{
		ID: it.ID, Object: "subscription_item", Created: it.Created, Discounts: []string{},
		Metadata: metadata(it.Metadata), Plan: v.plan(price), Price: v.price(price, x.of("price")),
		Quantity: it.Quantity, Subscription: s.ID, TaxRates: []string{},
	}
	if v.basil {
		out.CurrentPeriodStart, out.CurrentPeriodEnd = &s.CurrentPeriodStart, &s.CurrentPeriodEnd
	}
	return out
}

type planJSON struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"`
	Active          bool              `json:"active"`
	AggregateUsage  *string           `json:"aggregate_usage"`
	Amount          int64             `json:"amount"`
	AmountDecimal   string            `json:"amount_decimal"`
	BillingScheme   string            `json:"billing_scheme"`
	Created         int64             `json:"created"`
	Currency        string            `json:"currency"`
	Interval        string            `json:"interval"`
	IntervalCount   int64             `json:"interval_count"`
	Livemode        bool              `json:"livemode"`
	Metadata        map[string]string `json:"metadata"`
	Nickname        *string           `json:"nickname"`
	Product         string            `json:"product"`
	TiersMode       *string           `json:"tiers_mode"`
	TransformUsage  *struct{}         `json:"transform_usage"`
	TrialPeriodDays *int64            `json:"trial_period_days"`
	UsageType       string            `json:"usage_type"`
}

func (v view) plan(p *price) *planJSON {
	return &planJSON{
		ID: p.ID, Object: "plan", Active: p.Active, Amount: p.UnitAmount,
		AmountDecimal: strconv.FormatInt(p.UnitAmount, 10), BillingScheme: "per_unit",
		Created: p.Created, Currency: p.Currency, Interval: p.Interval,
		IntervalCount: p.IntervalCount, Livemode: v.w.scope.live, Metadata: metadata(p.Metadata),
		Nickname: strOrNull(p.Nickname), Product: p.Product, UsageType: "licensed",
	}
}
