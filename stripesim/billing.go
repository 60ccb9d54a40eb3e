package stripesim

import (
	"cmp"
	"time"

	"entitled/stripesim/internal/ids"
)

// invoice is a subscription's latest invoice. A published invoice is never changed.
type invoice struct {
	id, subscription, customer string
	status                     string // draft, open, paid, void or uncollectible
	reason                     string // billing_reason
	amount                     int64
	currency                   string
	created                    int64
	periodStart, periodEnd     int64
	attempts                   int64
	paymentIntent              string
	finalizeAt                 int64 // unix seconds; 0 if a draft does not finalize by itself
}

// cycleAfter returns the first instant after u that is a whole number of intervals after the
// anchor. In a month without the anchor's day it is the last day; later months use the anchor's day
// again.
func (p *price) cycleAfter(anchor, u int64) int64 {
	a := time.Unix(anchor, 0).UTC()
	n := int(max(p.IntervalCount, 1))
	switch p.Interval {
	case "day", "week":
		length := int64(n) * 86400
		if p.Interval == "week" {
			length *= 7
		}
		return anchor + ((u-anchor)/length+1)*length
	case "year":
		n *= 12
	}
	now := time.Unix(u, 0).UTC()
	months := (now.Year()-a.Year())*12 + int(now.Month()-a.Month())
	for k := months / n; ; k++ {
		if end := addMonths(a, k*n).Unix(); end > u {
			return end
		}
	}
}

func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

// startCycle starts a billing cycle at u and makes u the anchor.
func (t *tx) startCycle(s *Subscription, u int64) {
	s.BillingCycleAnchor, s.CurrentPeriodStart = u, u
	s.CurrentPeriodEnd = t.prices[s.Items[0].Price].get().cycleAfter(u, u)
	s.grants = t.grantsOf(s)
}

func hasMethod(c *Customer, s *Subscription) bool {
	return s.DefaultPaymentMethod != "" || c.DefaultPaymentMethod != ""
}

// canPay reports whether a charge would succeed now.
func (t *tx) canPay(rec *subRecord) bool {
	c, s := rec.owner.get(), rec.get()
	m := t.methods[cmp.Or(s.DefaultPaymentMethod, c.DefaultPaymentMethod)]
	return !c.paymentsFail && hasMethod(c, s) && (m == nil || m.get().Last4 != DeclinedCard)
}

// open creates a draft invoice for the current period and emits invoice.created. At finalizeAt, in
// unix seconds, the draft finalizes by itself; 0 means never.
func (t *tx) open(rec *subRecord, reason string, finalizeAt int64) {
	next := *rec.get()
	inv := &invoice{
		id: ids.New(t.rng, "in_1", 23), subscription: next.ID, customer: next.Customer,
		status: "draft", reason: reason, amount: t.amount(&next), currency: next.Currency,
		created: t.now, periodStart: next.CurrentPeriodStart, periodEnd: next.CurrentPeriodEnd,
		finalizeAt: finalizeAt,
	}
	if next.Status == StatusTrialing {
		inv.amount = 0
	}
	next.invoice = inv
	t.publish(rec, &next)
	t.emit("invoice.created", t.wireInvoice(inv), nil)
}

// setInvoice publishes a changed copy of the latest invoice and returns it.
func (t *tx) setInvoice(rec *subRecord, change func(*invoice)) *invoice {
	next := *rec.get()
	inv := *next.invoice
	change(&inv)
	next.invoice = &inv
	t.publish(rec, &next)
	return &inv
}

// finalize turns a draft into an open invoice with a payment intent.
func (t *tx) finalize(rec *subRecord) {
	if rec.get().invoice.status != "draft" {
		return
	}
	inv := t.setInvoice(rec, func(inv *invoice) {
		inv.status, inv.finalizeAt = "open", 0
		if inv.amount > 0 {
			inv.paymentIntent = ids.New(t.rng, "pi_3", 23)
		}
	})
	t.emit("invoice.finalized", t.wireInvoice(inv), nil)
	if inv.paymentIntent != "" {
		t.emit("payment_intent.created", t.wireIntent(rec, inv, "requires_payment_method"), nil)
	}
}

// bill opens an invoice, finalizes it and tries to collect it.
func (t *tx) bill(rec *subRecord) {
	old := rec.get().invoice
	t.open(rec, "subscription_update", t.now)
	t.emitLatestInvoice(rec, old)
	t.finalize(rec)
	t.collect(rec)
}

// emitLatestInvoice emits the update of latest_invoice, which open leaves to its caller.
func (t *tx) emitLatestInvoice(rec *subRecord, old *invoice) {
	before := *rec.get()
	before.invoice = old
	t.emitUpdate("customer.subscription.updated", t.wireSub(&before), t.wireSub(rec.get()))
}

// collect tries to charge the open invoice and updates the subscription's status.
func (t *tx) collect(rec *subRecord) {
	s := rec.get()
	if s.invoice.status != "open" {
		return
	}
	if s.invoice.amount == 0 || t.canPay(rec) {
		t.paid(rec)
	} else {
		t.unpaid(rec)
	}
}

func (t *tx) paid(rec *subRecord) {
	inv := t.setInvoice(rec, func(inv *invoice) { inv.status, inv.attempts = "paid", inv.attempts+1 })
	if inv.paymentIntent != "" {
		t.emit("charge.succeeded", t.wireCharge(rec, inv, true), nil)
		t.emit("payment_intent.succeeded", t.wireIntent(rec, inv, "succeeded"), nil)
	}
	t.emit("invoice.updated", t.wireInvoice(inv), map[string]any{"status": "open"})
	t.emit("invoice.paid", t.wireInvoice(inv), nil)
	t.emit("invoice.payment_succeeded", t.wireInvoice(inv), nil)
	t.updateSub(rec, func(s *Subscription) {
		s.attempt, s.nextAttempt = 0, 0
		switch s.Status {
		case StatusIncomplete, StatusPastDue, StatusUnpaid:
			s.Status = StatusActive
		}
	})
	if rec.owner.get().Delinquent {
		t.updateCustomer(rec.owner, func(c *Customer) { c.Delinquent = false })
	}
}

func (t *tx) unpaid(rec *subRecord) {
	inv := t.setInvoice(rec, func(inv *invoice) { inv.attempts++ })
	t.emit("charge.failed", t.wireCharge(rec, inv, false), nil)
	t.emit("payment_intent.payment_failed", t.wireIntent(rec, inv, "requires_payment_method"), nil)
	t.emit("invoice.payment_failed", t.wireInvoice(inv), nil)
	if rec.get().Status == StatusIncomplete {
		return
	}
	cfg := t.sim.cfg
	if s := rec.get(); s.attempt >= len(cfg.Dunning) {
		if cfg.AfterDunning == StatusCanceled {
			t.cancelNow(rec, "payment_failed")
			return
		}
		t.updateSub(rec, func(s *Subscription) { s.Status, s.nextAttempt = cfg.AfterDunning, 0 })
		return
	}
	t.updateSub(rec, func(s *Subscription) {
		s.Status = StatusPastDue
		s.nextAttempt = t.now + int64(cfg.Dunning[s.attempt]/time.Second)
		s.attempt++
	})
	if !rec.owner.get().Delinquent {
		t.updateCustomer(rec.owner, func(c *Customer) { c.Delinquent = true })
	}
}
