package stripesim

type customerJSON struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Address             *struct{}         `json:"address"`
	Balance             int64             `json:"balance"`
	Created             int64             `json:"created"`
	Currency            *string           `json:"currency"`
	DefaultSource       *string           `json:"default_source"`
	Delinquent          bool              `json:"delinquent"`
	Description         *string           `json:"description"`
	Discount            *struct{}         `json:"discount"`
	Email               *string           `json:"email"`
	InvoicePrefix       string            `json:"invoice_prefix"`
	InvoiceSettings     custInvoice       `json:"invoice_settings"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	Name                *string           `json:"name"`
	NextInvoiceSequence int64             `json:"next_invoice_sequence"`
	Phone               *string           `json:"phone"`
	PreferredLocales    []string          `json:"preferred_locales"`
	Shipping            *struct{}         `json:"shipping"`
	Subscriptions       *listJSON         `json:"subscriptions,omitempty"`
	TaxExempt           string            `json:"tax_exempt"`
	TestClock           *string           `json:"test_clock"`
}

type custInvoice struct {
	CustomFields         *struct{} `json:"custom_fields"`
	DefaultPaymentMethod any       `json:"default_payment_method"`
	Footer               *string   `json:"footer"`
	RenderingOptions     *struct{} `json:"rendering_options"`
}

type deletedJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// customer renders a customer; a deleted one has only a few fields.
func (v view) customer(c *Customer, x expansion) any {
	if c.Deleted {
		return &deletedJSON{ID: c.ID, Object: "customer", Deleted: true}
	}
	out := &customerJSON{
		ID: c.ID, Object: "customer", Created: c.Created, Delinquent: c.Delinquent,
		Email: strOrNull(c.Email), InvoicePrefix: prefixOf(c.ID), Livemode: v.w.scope.live,
		Metadata: metadata(c.Metadata), Name: strOrNull(c.Name), NextInvoiceSequence: 1,
		PreferredLocales: []string{}, TaxExempt: "none",
	}
	settings := x.of("invoice_settings")
	expanded := settings.has("default_payment_method")
	out.InvoiceSettings.DefaultPaymentMethod = ref(c.DefaultPaymentMethod, expanded, func() any {
		return v.method(v.w.methods[c.DefaultPaymentMethod].asOf(v.at), settings.of("default_payment_method"))
	})
	if x.has("subscriptions") {
		out.Subscriptions = v.currentSubscriptions(c, x.of("subscriptions"))
	}
	return out
}

// prefixOf returns an invoice prefix that depends only on the customer's id.
func prefixOf(id string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 8)
	for i, h := 0, hash64(0, id); i < len(b); i, h = i+1, h>>4 {
		b[i] = hex[h&15]
	}
	return string(b)
}

// currentSubscriptions returns the inline list of a customer: the 10 newest subscriptions that have
// not ended.
func (v view) currentSubscriptions(c *Customer, x expansion) *listJSON {
	const inline = 10
	data := []*subscriptionJSON{}
	list := &listJSON{Object: "list", URL: "/v1/customers/" + c.ID + "/subscriptions"}
	subs := v.w.custs[c.ID].subs
	for i := len(subs) - 1; i >= 0; i-- {
		s := subs[i].asOf(v.at)
		if s == nil || s.ended() {
			continue
		}
		if len(data) == inline {
			list.HasMore = true
			break
		}
		data = append(data, v.subscription(s, x.of("data")))
	}
	list.Data = data
	return list
}

type methodJSON struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	BillingDetails billingDetails    `json:"billing_details"`
	Card           *cardJSON         `json:"card,omitempty"`
	SEPA           *bankJSON         `json:"sepa_debit,omitempty"`
	USBank         *bankJSON         `json:"us_bank_account,omitempty"`
	Link           *linkJSON         `json:"link,omitempty"`
	Created        int64             `json:"created"`
	Customer       any               `json:"customer"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	Type           string            `json:"type"`
}

type billingDetails struct {
	Address *struct{} `json:"address"`
	Email   *string   `json:"email"`
	Name    *string   `json:"name"`
	Phone   *string   `json:"phone"`
}

type cardJSON struct {
	Brand    string `json:"brand"`
	Country  string `json:"country"`
	ExpMonth int64  `json:"exp_month"`
	ExpYear  int64  `json:"exp_year"`
	Funding  string `json:"funding"`
	Last4    string `json:"last4"`
}

type bankJSON struct {
	BankName *string `json:"bank_name"`
	Last4    string  `json:"last4"`
}

type linkJSON struct {
	Email *string `json:"email"`
}

func (v view) method(m *paymentMethod, x expansion) *methodJSON {
	out := &methodJSON{
		ID: m.ID, Object: "payment_method", Created: m.Created, Livemode: v.w.scope.live,
		Metadata: map[string]string{}, Type: m.Type,
		Customer: ref(m.Customer, x.has("customer"), func() any {
			return v.customer(v.w.custs[m.Customer].asOf(v.at), x.of("customer"))
		}),
	}
	switch m.Type {
	case "card":
		out.Card = &cardJSON{
			Brand: m.Brand, Country: "US", ExpMonth: 8, ExpYear: 2034, Funding: "credit", Last4: m.Last4,
		}
	case "sepa_debit":
		out.SEPA = &bankJSON{BankName: strOrNull(m.Brand), Last4: m.Last4}
	case "us_bank_account":
		out.USBank = &bankJSON{BankName: strOrNull(m.Brand), Last4: m.Last4}
	case "link":
		out.Link = &linkJSON{}
	}
	return out
}
