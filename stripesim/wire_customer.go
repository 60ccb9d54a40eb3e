package stripesim

import (
	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
	"entitled/stripesim/internal/wire"
)

// customer renders a customer; a deleted one has only a few fields.
func (v view) customer(c *Customer, x api.Expansion) any {
	if c.Deleted {
		return &wire.Deleted{ID: c.ID, Object: "customer", Deleted: true}
	}
	out := &wire.Customer{
		ID: c.ID, Object: "customer", Created: c.Created, Delinquent: c.Delinquent,
		Description: wire.StrOrNull(c.Description), Email: wire.StrOrNull(c.Email),
		Phone:         wire.StrOrNull(c.Phone),
		InvoicePrefix: prefixOf(c.ID), Livemode: v.w.scope.live,
		Metadata: metadata(c.Metadata), Name: wire.StrOrNull(c.Name), NextInvoiceSequence: 1,
		PreferredLocales: []string{}, TaxExempt: "none",
	}
	settings := x.Of("invoice_settings")
	expanded := settings.Has("default_payment_method")
	out.InvoiceSettings.DefaultPaymentMethod = ref(c.DefaultPaymentMethod, expanded, func() any {
		return v.method(v.w.methods[c.DefaultPaymentMethod].asOf(v.at), settings.Of("default_payment_method"))
	})
	if x.Has("subscriptions") {
		out.Subscriptions = v.currentSubscriptions(c, x.Of("subscriptions"))
	}
	return out
}

// prefixOf returns an invoice prefix that depends only on the customer's id.
func prefixOf(id string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 8)
	for i, h := 0, ids.Hash(0, id); i < len(b); i, h = i+1, h>>4 {
		b[i] = hex[h&15]
	}
	return string(b)
}

// currentSubscriptions returns the inline list of a customer: the 10 newest subscriptions that have
// not ended.
func (v view) currentSubscriptions(c *Customer, x api.Expansion) *wire.List {
	const inline = 10
	data := []*wire.Subscription{}
	list := &wire.List{Object: "list", URL: "/v1/customers/" + c.ID + "/subscriptions"}
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
		data = append(data, v.subscription(s, x.Of("data")))
	}
	list.Data = data
	return list
}

func (v view) method(m *paymentMethod, x api.Expansion) *wire.Method {
	out := &wire.Method{
		ID: m.ID, Object: "payment_method", Created: m.Created, Livemode: v.w.scope.live,
		Metadata: map[string]string{}, Type: m.Type,
		Customer: ref(m.Customer, x.Has("customer"), func() any {
			return v.customer(v.w.custs[m.Customer].asOf(v.at), x.Of("customer"))
		}),
	}
	switch m.Type {
	case "card":
		out.Card = &wire.Card{
			Brand: m.Brand, Country: "US", ExpMonth: 8, ExpYear: 2034, Funding: "credit", Last4: m.Last4,
		}
	case "sepa_debit":
		out.SEPA = &wire.Bank{BankName: wire.StrOrNull(m.Brand), Last4: m.Last4}
	case "us_bank_account":
		out.USBank = &wire.Bank{BankName: wire.StrOrNull(m.Brand), Last4: m.Last4}
	case "link":
		out.Link = &wire.Link{}
	}
	return out
}
