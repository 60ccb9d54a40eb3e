package stripesim

// The objects below exist only in events and, for an invoice, as an expanded latest_invoice.

type invoiceJSON struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	AmountDue          int64             `json:"amount_due"`
	AmountPaid         int64             `json:"amount_paid"`
	AmountRemaining    int64             `json:"amount_remaining"`
	AttemptCount       int64             `json:"attempt_count"`
	Attempted          bool              `json:"attempted"`
	AutoAdvance        bool              `json:"auto_advance"`
	BillingReason      string            `json:"billing_reason"`
	CollectionMethod   string            `json:"collection_method"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Customer           any               `json:"customer"`
	HostedInvoiceURL   *string           `json:"hosted_invoice_url"`
	Lines              listJSON          `json:"lines"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	NextPaymentAttempt *int64            `json:"next_payment_attempt"`
	Number             *string           `json:"number"` // null for a draft
	Paid               *bool             `json:"paid,omitempty"`
	Parent             *invoiceParent    `json:"parent,omitempty"`
	PaymentIntent      *string           `json:"payment_intent,omitempty"`
	PeriodEnd          int64             `json:"period_end"`
	PeriodStart        int64             `json:"period_start"`
	Status             string            `json:"status"`
	Subscription       any               `json:"subscription,omitempty"`
	Subtotal           int64             `json:"subtotal"`
	Total              int64             `json:"total"`
}

// invoiceParent names the subscription in versions from basil on.
type invoiceParent struct {
	Type    string `json:"type"`
	Details struct {
		Metadata     map[string]string `json:"metadata"`
		Subscription string            `json:"subscription"`
	} `json:"subscription_details"`
}

func (v view) invoice(i *invoice, x expansion) *invoiceJSON {
	out := &invoiceJSON{
		ID: i.id, Object: "invoice", AmountDue: i.amount, AmountRemaining: i.amount,
		AttemptCount: i.attempts, Attempted: i.attempts > 0, AutoAdvance: i.status == "open",
		BillingReason: i.reason, CollectionMethod: "charge_automatically", Created: i.created,
		Currency: i.currency,
		Customer: ref(i.customer, x.has("customer"), func() any {
			return v.customer(v.w.custs[i.customer].asOf(v.at), x.of("customer"))
		}),
		Livemode: v.w.scope.live, Metadata: map[string]string{}, NextPaymentAttempt: intOrNull(i.finalizeAt),
		PeriodStart: i.periodStart, PeriodEnd: i.periodEnd,
		Status: i.status, Subtotal: i.amount, Total: i.amount,
	}
	if i.status != "draft" {
		out.Number = strOrNull(prefixOf(i.id) + "-0001")
	}
	if i.status == "paid" {
		out.AmountPaid, out.AmountRemaining = i.amount, 0
	}
	out.Lines = listJSON{Object: "list", URL: "/v1/invoices/" + i.id + "/lines", Data: []lineJSON{{
		ID: "il" + i.id[2:], Object: "line_item", Amount: i.amount, Currency: i.currency,
		Livemode: v.w.scope.live, Period: periodJSON{i.periodStart, i.periodEnd}, Quantity: 1,
	}}}
	if v.basil {
		out.Parent = &invoiceParent{Type: "subscription_details"}
		out.Parent.Details.Metadata, out.Parent.Details.Subscription = map[string]string{}, i.subscription
		return out
	}
	paid := i.status == "paid"
	out.Paid, out.PaymentIntent, out.Subscription = &paid, strOrNull(i.paymentIntent), i.subscription
	return out
}

type lineJSON struct {
	ID       string     `json:"id"`
	Object   string     `json:"object"`
	Amount   int64      `json:"amount"`
	Currency string     `json:"currency"`
	Livemode bool       `json:"livemode"`
	Period   periodJSON `json:"period"`
	Quantity int64      `json:"quantity"`
}

type periodJSON struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

type intentJSON struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountReceived int64             `json:"amount_received"`
	Created        int64             `json:"created"`
	Currency       string            `json:"currency"`
	Customer       *string           `json:"customer"`
	LatestCharge   *string           `json:"latest_charge"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	PaymentMethod  *string           `json:"payment_method"`
	Types          []string          `json:"payment_method_types"`
	Status         string            `json:"status"`
}

func (t *tx) wireIntent(rec *subRecord, i *invoice, status string) *intentJSON {
	out := &intentJSON{
		ID: i.paymentIntent, Object: "payment_intent", Amount: i.amount, Created: i.created,
		Currency: i.currency, Customer: strOrNull(i.customer), Livemode: t.scope.live,
		Metadata: map[string]string{}, PaymentMethod: strOrNull(t.methodFor(rec)),
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

type chargeJSON struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Amount        int64             `json:"amount"`
	Captured      bool              `json:"captured"`
	Created       int64             `json:"created"`
	Currency      string            `json:"currency"`
	Customer      *string           `json:"customer"`
	FailureCode   *string           `json:"failure_code"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Paid          bool              `json:"paid"`
	PaymentIntent *string           `json:"payment_intent"`
	PaymentMethod *string           `json:"payment_method"`
	Refunded      bool              `json:"refunded"`
	Status        string            `json:"status"`
}

func (t *tx) wireCharge(rec *subRecord, i *invoice, ok bool) *chargeJSON {
	out := &chargeJSON{
		ID: newID(t.rng, "ch_3", 23), Object: "charge", Amount: i.amount, Captured: ok, Created: t.now,
		Currency: i.currency, Customer: strOrNull(i.customer), Livemode: t.scope.live,
		Metadata: map[string]string{}, Paid: ok, PaymentIntent: strOrNull(i.paymentIntent),
		PaymentMethod: strOrNull(t.methodFor(rec)), Status: "succeeded",
	}
	if !ok {
		out.Status, out.FailureCode = "failed", strOrNull("card_declined")
	}
	return out
}

type prorationJSON struct {
	ID           string     `json:"id"`
	Object       string     `json:"object"`
	Amount       int64      `json:"amount"`
	Currency     string     `json:"currency"`
	Customer     string     `json:"customer"`
	Date         int64      `json:"date"`
	Livemode     bool       `json:"livemode"`
	Period       periodJSON `json:"period"`
	Proration    bool       `json:"proration"`
	Subscription string     `json:"subscription"`
}

// wireProration renders the credit (sign -1) or the debit (sign 1) for the remaining time of the
// current period.
func (t *tx) wireProration(rec *subRecord, p *price, sign int64) *prorationJSON {
	s := rec.get()
	rest, whole := max(s.CurrentPeriodEnd-t.now, 0), max(s.CurrentPeriodEnd-s.CurrentPeriodStart, 1)
	return &prorationJSON{
		ID: newID(t.rng, "ii_1", 23), Object: "invoiceitem", Currency: p.Currency, Customer: s.Customer,
		Amount: sign * p.UnitAmount * s.Items[0].Quantity * rest / whole, Date: t.now, Livemode: t.scope.live,
		Period: periodJSON{t.now, s.CurrentPeriodEnd}, Proration: true, Subscription: s.ID,
	}
}
