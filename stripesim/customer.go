package stripesim

import (
	"fmt"
	"maps"
	"slices"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
)

// Customer is a customer's state.
type Customer struct {
	ID                   string
	Email, Name          string
	Description, Phone   string
	Created              int64 // unix seconds
	Deleted              bool
	Delinquent           bool
	DefaultPaymentMethod string // invoice_settings.default_payment_method; "" for null
	Metadata             map[string]string

	paymentsFail bool
	entitlements []activeEntitlement
}

// CustomerParams describe a new customer.
type CustomerParams struct {
	ID                              string // defaults to a generated id
	Email, Name, Description, Phone string
	Metadata                        map[string]string
	// Created is in unix seconds. Only [Account.Load] uses it.
	Created int64
	// NoPaymentMethod creates the customer without a payment method. Otherwise one is attached and
	// becomes the default.
	NoPaymentMethod bool
	// PaymentMethod is the attached payment method. Nil is a visa card that ends in 4242.
	PaymentMethod *PaymentMethodParams
}

// CreateCustomer creates a customer. It emits customer.created and, with a payment method,
// payment_method.attached and customer.updated.
func (a *Account) CreateCustomer(p CustomerParams) (id string, err error) {
	err = a.step(func(t *tx) error {
		rec, err := t.newCustomer(p)
		if err != nil {
			return err
		}
		id = rec.id
		t.emit("customer.created", t.wireCustomer(rec.get()), nil)
		if !p.NoPaymentMethod {
			t.attach(rec, p.card(), true)
		}
		return nil
	})
	return id, err
}

func (p CustomerParams) card() PaymentMethodParams {
	if p.PaymentMethod != nil {
		return *p.PaymentMethod
	}
	return PaymentMethodParams{}
}

func (t *tx) newCustomer(p CustomerParams) (*custRecord, error) {
	if p.ID == "" {
		p.ID = ids.New(t.rng, "cus_", 14)
	}
	if t.custs[p.ID] != nil {
		return nil, fmt.Errorf("customer %s: already exists", p.ID)
	}
	created, listed := t.now, t.listed
	if t.loading && p.Created != 0 {
		created, listed = p.Created, p.Created
	}
	rec := &custRecord{place: t.place(p.ID, listed), clock: t.clock}
	t.setCustomer(rec, &Customer{
		ID: p.ID, Email: p.Email, Name: p.Name, Description: p.Description, Phone: p.Phone, Created: created,
		Metadata: maps.Clone(p.Metadata),
	})
	t.custs[p.ID] = rec
	t.custList = append(t.custList, rec)
	return rec, nil
}

// customer returns a customer that exists and is not deleted.
func (t *tx) customer(id string) (*custRecord, error) {
	rec := t.custs[id]
	if rec == nil {
		return nil, fmt.Errorf("no such customer: %q", id)
	}
	if rec.get().Deleted {
		return nil, fmt.Errorf("customer %s: is deleted", id)
	}
	return t.of(rec), nil
}

// updateCustomer publishes a changed copy and emits customer.updated if the copy differs.
func (t *tx) updateCustomer(rec *custRecord, change func(*Customer)) {
	old := rec.get()
	next := *old
	change(&next)
	t.setCustomer(rec, &next)
	t.emitUpdate("customer.updated", t.wireCustomer(old), t.wireCustomer(&next))
}

// UpdateCustomer merges metadata into the customer's. As at Stripe, an empty value removes its key.
func (a *Account) UpdateCustomer(id string, metadata map[string]string) error {
	return a.step(func(t *tx) error {
		rec, err := t.customer(id)
		if err != nil {
			return err
		}
		t.updateCustomer(rec, func(c *Customer) { c.Metadata = api.MergeMetadata(c.Metadata, metadata) })
		return nil
	})
}

// DeleteCustomer cancels the customer's subscriptions, detaches its payment methods and deletes it.
// There is no way back.
func (a *Account) DeleteCustomer(id string) error {
	return a.step(func(t *tx) error {
		rec, err := t.customer(id)
		if err != nil {
			return err
		}
		t.deleteCustomer(rec)
		return nil
	})
}

func (t *tx) deleteCustomer(rec *custRecord) {
	for _, sub := range rec.subs {
		if !sub.get().ended() {
			t.cancelNow(sub, "cancellation_requested")
		}
	}
	t.reentitle(rec)
	last := rec.get()
	t.setCustomer(rec, &Customer{ID: last.ID, Created: last.Created, Deleted: true})
	for _, m := range slices.Clone(rec.methods) {
		t.release(rec, m)
	}
	t.emit("customer.deleted", t.wireCustomer(last), nil)
}

// FailPayments makes every attempt to charge the customer fail, until [Account.RecoverPayments].
func (a *Account) FailPayments(customer string) error {
	return a.step(func(t *tx) error {
		rec, err := t.customer(customer)
		if err != nil {
			return err
		}
		t.setPaymentsFail(rec, true)
		return nil
	})
}

// RecoverPayments lets charges succeed again and pays open invoices at once, as if the customer
// followed the link in Stripe's reminder.
func (a *Account) RecoverPayments(customer string) error {
	return a.step(func(t *tx) error {
		rec, err := t.customer(customer)
		if err != nil {
			return err
		}
		t.setPaymentsFail(rec, false)
		for _, sub := range rec.subs {
			switch s := sub.get(); {
			case s.Status != StatusIncomplete && s.Status != StatusPastDue && s.Status != StatusUnpaid:
			case s.invoice == nil:
				t.bill(sub)
			default:
				t.finalize(sub)
				t.collect(sub)
			}
		}
		t.reentitle(rec)
		return nil
	})
}

// setPaymentsFail changes the outcome of charges, which no API object shows.
func (t *tx) setPaymentsFail(rec *custRecord, fail bool) {
	next := *rec.get()
	next.paymentsFail = fail
	rec.set(&next, t.stamp)
}
