package stripesim

import (
	"context"
	"fmt"
	"time"

	"entitled/stripesim/internal/ids"
	"entitled/stripesim/internal/wire"
)

// CheckoutParams describe a purchase through Stripe Checkout.
type CheckoutParams struct {
	// Customer is the id of the buyer. Checkout creates a customer that does not exist. Defaults to
	// a generated id.
	Customer    string
	Email, Name string            // of a customer that Checkout creates
	Metadata    map[string]string // of a customer that Checkout creates
	// SubscriptionMetadata is that of the new subscription.
	SubscriptionMetadata map[string]string
	Price                string // the id of an existing price
	Quantity             int64  // defaults to 1
	TrialDays            int    // 0 means no trial
	// PaymentMethod is the buyer's payment method. Nil is a visa card that ends in 4242.
	PaymentMethod *PaymentMethodParams
}

// Checkout is a purchase in progress. It emits about a dozen events in six steps, and each step is
// atomic for readers.
type Checkout struct {
	// Customer, Subscription and Session are the ids of the objects, each empty until its step is
	// done.
	Customer, Subscription, Session string

	account *Account
	params  CheckoutParams
	method  string
	steps   []func(t *tx) error
}

// BeginCheckout prepares a purchase, and [Checkout.Next] runs its steps.
func (a *Account) BeginCheckout(p CheckoutParams) *Checkout {
	c := &Checkout{account: a, params: p, Customer: p.Customer}
	c.steps = []func(t *tx) error{c.arrive, c.attach, c.subscribe, c.finalize, c.pay, c.complete}
	return c
}

// Checkout runs all steps of a purchase at once.
func (a *Account) Checkout(p CheckoutParams) (*Checkout, error) {
	return a.CheckoutOver(context.Background(), p, 0)
}

// CheckoutOver runs the steps of a purchase over about spread of wall time: the gaps between the
// steps vary by ±15 %, as the seed decides.
func (a *Account) CheckoutOver(ctx context.Context, p CheckoutParams, spread time.Duration) (*Checkout, error) {
	c := a.BeginCheckout(p)
	gap := spread / time.Duration(len(c.steps)-1)
	for {
		more, err := c.Next()
		if err != nil || !more {
			return c, err
		}
		luck := ids.Chance(a.w.sim.cfg.Seed, "checkout", c.Customer, fmt.Sprint(len(c.steps)))
		if !pause(ctx, Range{gap * 85 / 100, gap * 115 / 100}.draw(luck)) {
			return c, fmt.Errorf("checkout of %s: %w", c.Customer, ctx.Err())
		}
	}
}

// Next runs the next step and reports whether another one follows.
func (c *Checkout) Next() (more bool, err error) {
	if len(c.steps) == 0 {
		return false, nil
	}
	if err := c.account.step(c.steps[0]); err != nil {
		return false, fmt.Errorf("checkout of %s: %w", c.Customer, err)
	}
	c.steps = c.steps[1:]
	return len(c.steps) > 0, nil
}

func (c *Checkout) arrive(t *tx) error {
	if t.prices[c.params.Price] == nil {
		return fmt.Errorf("no such price: %q", c.params.Price)
	}
	if t.custs[c.Customer] != nil {
		return nil
	}
	rec, err := t.newCustomer(CustomerParams{
		ID: c.Customer, Email: c.params.Email, Name: c.params.Name, Metadata: c.params.Metadata,
	})
	if err != nil {
		return err
	}
	c.Customer = rec.id
	t.emit("customer.created", t.wireCustomer(rec.get()), nil)
	return nil
}

func (c *Checkout) attach(t *tx) error {
	rec, err := t.customer(c.Customer)
	if err != nil {
		return err
	}
	card := CustomerParams{PaymentMethod: c.params.PaymentMethod}.card()
	c.method = t.attach(rec, card, false)
	if c.params.TrialDays > 0 {
		// The trial charges nothing yet: a setup intent saves the card.
		intent := &wire.Setup{
			ID: ids.New(t.rng, "seti_1", 23), Object: "setup_intent", Created: t.now, Customer: wire.StrOrNull(c.Customer),
			Livemode: t.scope.live, Metadata: map[string]string{}, PaymentMethod: wire.StrOrNull(c.method),
			Status: "requires_confirmation", Usage: "off_session",
		}
		t.emit("setup_intent.created", intent, nil)
		intent.Status = "succeeded"
		t.emit("setup_intent.succeeded", intent, nil)
	}
	return nil
}

func (c *Checkout) subscribe(t *tx) error {
	rec, err := t.newSubscription(SubscriptionParams{
		Customer: c.Customer, Items: []ItemParams{{Price: c.params.Price, Quantity: c.params.Quantity}},
		TrialDays: c.params.TrialDays, DefaultIncomplete: true, DefaultPaymentMethod: c.method,
		Metadata: c.params.SubscriptionMetadata,
	})
	if err != nil {
		return err
	}
	c.Subscription = rec.id
	t.open(rec, "subscription_create", 0)
	t.emit("customer.subscription.created", t.wireSub(rec.get()), nil)
	t.reentitle(rec.owner)
	return nil
}

func (c *Checkout) finalize(t *tx) error {
	if rec := t.subs[c.Subscription]; !rec.get().ended() {
		t.finalize(rec)
	}
	return nil
}

func (c *Checkout) pay(t *tx) error {
	if rec := t.subs[c.Subscription]; !rec.get().ended() {
		t.collect(rec)
		t.reentitle(rec.owner)
	}
	return nil
}

func (c *Checkout) complete(t *tx) error {
	rec := t.subs[c.Subscription]
	s := rec.get()
	paid := s.Status != StatusIncomplete && !s.ended()
	if t.sessions[c.Session] != nil {
		c.settle(t, paid)
		return nil
	}
	c.Session = t.newSessionID()
	if !paid {
		return nil // the session stays open
	}
	t.emit("checkout.session.completed", &wire.Session{
		ID: c.Session, Object: "checkout.session", AmountTotal: t.amount(s), Created: t.now, Currency: s.Currency,
		Customer: wire.StrOrNull(s.Customer), Email: wire.StrOrNull(c.params.Email), Invoice: wire.StrOrNull(s.invoice.id),
		Livemode: t.scope.live, Metadata: map[string]string{}, Mode: "subscription", PaymentStatus: "paid",
		Status: "complete", Subscription: wire.StrOrNull(s.ID),
	}, nil)
	return nil
}

// GuestPayment makes a one-time payment of amount, in US cents, without a customer. The events have
// null as their customer.
func (a *Account) GuestPayment(amount int64) error {
	return a.step(func(t *tx) error {
		guest := &subRecord{owner: &custRecord{}}
		guest.set(&Subscription{}, t.stamp)
		guest.owner.set(&Customer{}, t.stamp)
		inv := &invoice{paymentIntent: ids.New(t.rng, "pi_3", 23), amount: amount, currency: "usd", created: t.now}
		t.emit("payment_intent.created", t.wireIntent(guest, inv, "requires_payment_method"), nil)
		t.emit("charge.succeeded", t.wireCharge(guest, inv, true), nil)
		t.emit("payment_intent.succeeded", t.wireIntent(guest, inv, "succeeded"), nil)
		t.emit("checkout.session.completed", &wire.Session{
			ID: ids.New(t.rng, "cs_test_a1", 56), Object: "checkout.session", AmountTotal: amount, Created: t.now,
			Currency: "usd", Livemode: t.scope.live, Metadata: map[string]string{}, Mode: "payment",
			PaymentIntent: wire.StrOrNull(inv.paymentIntent), PaymentStatus: "paid", Status: "complete",
		}, nil)
		return nil
	})
}
