package stripesim

import (
	"cmp"
	"fmt"
	"slices"

	"entitled/stripesim/internal/ids"
)

// paymentMethod is a payment method's state.
type paymentMethod struct {
	ID       string
	Type     string // card, sepa_debit, us_bank_account, link, …
	Brand    string // of a card, or the bank's name
	Last4    string
	Customer string // "" once detached
	Created  int64  // unix seconds
}

// PaymentMethodParams describe a new payment method.
type PaymentMethodParams struct {
	Type  string // card, sepa_debit, us_bank_account, link, …; defaults to card
	Brand string // of a card, defaults to visa; or the name of the bank
	Last4 string // defaults to 4242
}

// AttachPaymentMethod adds a payment method to a customer. It emits payment_method.attached and, if
// the method becomes the customer's default, customer.updated.
func (a *Account) AttachPaymentMethod(customer string, p PaymentMethodParams, makeDefault bool) (id string, err error) {
	err = a.step(func(t *tx) error {
		rec, err := t.customer(customer)
		if err != nil {
			return err
		}
		id = t.attach(rec, p, makeDefault)
		return nil
	})
	return id, err
}

func (t *tx) attach(rec *custRecord, p PaymentMethodParams, makeDefault bool) string {
	m := &paymentMethod{
		ID:       ids.New(t.rng, "pm_1", 23),
		Type:     cmp.Or(p.Type, "card"),
		Last4:    cmp.Or(p.Last4, "4242"),
		Brand:    p.Brand,
		Customer: rec.id,
		Created:  t.now,
	}
	if m.Type == "card" {
		m.Brand = cmp.Or(m.Brand, "visa")
	}
	mr := &methodRecord{place: t.place(m.ID, t.listed)}
	mr.set(m, t.stamp)
	t.methods[m.ID] = mr
	rec.methods = append(rec.methods, mr)
	t.emit("payment_method.attached", t.wireMethod(m), nil)
	if makeDefault {
		t.updateCustomer(rec, func(c *Customer) { c.DefaultPaymentMethod = m.ID })
	}
	return m.ID
}

// DetachPaymentMethod removes a payment method from its customer and from every subscription that
// names it. As at Stripe, the event's customer is null and its previous_attributes has the id.
func (a *Account) DetachPaymentMethod(id string) error {
	return a.step(func(t *tx) error {
		mr := t.methods[id]
		if mr == nil || mr.get().Customer == "" {
			return fmt.Errorf("payment method %q: not attached", id)
		}
		rec := t.custs[mr.get().Customer]
		t.release(rec, mr)
		if rec.get().DefaultPaymentMethod == id {
			t.updateCustomer(rec, func(c *Customer) { c.DefaultPaymentMethod = "" })
		}
		for _, sub := range rec.subs {
			if sub.get().DefaultPaymentMethod == id {
				t.updateSub(sub, func(s *Subscription) { s.DefaultPaymentMethod = "" })
			}
		}
		return nil
	})
}

func (t *tx) release(rec *custRecord, mr *methodRecord) {
	old := mr.get()
	next := *old
	next.Customer = ""
	mr.set(&next, t.stamp)
	rec.methods = slices.DeleteFunc(slices.Clone(rec.methods), func(m *methodRecord) bool { return m == mr })
	t.emitUpdate("payment_method.detached", t.wireMethod(old), t.wireMethod(&next))
}
