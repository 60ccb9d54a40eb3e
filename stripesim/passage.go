package stripesim

import "time"

// pass applies one change that is due to a subscription at t.now. If several are due in the same
// second, each call applies the next one, in the order of the cases.
func (t *tx) pass(rec *subRecord) {
	s := rec.get()
	due := func(u int64) bool { return u != 0 && u <= t.now }
	billed := s.Status == StatusActive || s.Status == StatusPastDue || s.Status == StatusUnpaid
	switch {
	case due(s.CancelAt):
		t.cancelNow(rec, "cancellation_requested")
	case s.Status == StatusIncomplete && due(s.Created+incompleteLife):
		t.expire(rec)
	case s.Status == StatusTrialing && due(s.TrialEnd):
		t.endTrial(rec)
	case s.Status == StatusTrialing && !s.noticeSent && due(s.noticeAt()):
		t.notice(rec)
	case s.PauseCollection != nil && due(s.PauseCollection.ResumesAt):
		t.updateSub(rec, func(s *Subscription) { s.PauseCollection = nil })
	case billed && s.invoice != nil && s.invoice.status == "draft" && due(s.invoice.finalizeAt):
		t.collectDraft(rec)
	case billed && due(s.nextAttempt):
		t.retry(rec)
	case billed && due(s.CurrentPeriodEnd):
		t.roll(rec)
	}
	t.reentitle(rec.owner)
}

func (t *tx) notice(rec *subRecord) {
	next := *rec.get()
	next.noticeSent = true
	t.publish(rec, &next)
	t.emit("customer.subscription.trial_will_end", t.wireSub(&next), nil)
}

// expire ends a subscription whose first payment was not made in time.
func (t *tx) expire(rec *subRecord) {
	if inv := rec.get().invoice; inv != nil && inv.status == "open" {
		t.emit("invoice.voided", t.wireInvoice(t.setInvoice(rec, func(inv *invoice) { inv.status = "void" })), nil)
	}
	t.updateSub(rec, func(s *Subscription) { s.Status, s.EndedAt = StatusIncompleteExpired, t.now })
}

// endTrial starts the first paid period. Without a payment method it follows the subscription's
// TrialEndBehavior instead.
func (t *tx) endTrial(rec *subRecord) {
	s := rec.get()
	if !hasMethod(rec.owner.get(), s) && t.amount(s) > 0 {
		switch s.TrialEndBehavior {
		case "cancel":
			t.cancelNow(rec, "payment_failed")
			return
		case "pause":
			t.updateSub(rec, func(s *Subscription) { s.Status = StatusPaused })
			t.emit("customer.subscription.paused", t.wireSub(rec.get()), nil)
			return
		}
	}
	t.cycle(rec, func(s *Subscription) {
		end := s.TrialEnd
		s.Status = StatusActive
		t.startCycle(s, end)
	})
}

// roll starts the next period. As at Stripe, its invoice is a draft that is charged later.
func (t *tx) roll(rec *subRecord) {
	t.cycle(rec, func(s *Subscription) {
		end := s.CurrentPeriodEnd
		s.CurrentPeriodStart = end
		s.CurrentPeriodEnd = t.prices[s.Items[0].Price].get().cycleAfter(s.BillingCycleAnchor, end)
		s.grants = t.grantsOf(s)
		if s.CancelAtPeriodEnd {
			s.CancelAt = s.CurrentPeriodEnd
		}
	})
}

// cycle applies change, opens the new period's invoice and emits one update for both.
func (t *tx) cycle(rec *subRecord, change func(*Subscription)) {
	old := rec.get()
	next := *old
	change(&next)
	before := t.wireSub(old)
	t.publish(rec, &next)
	at := t.now + max(int64(t.sim.cfg.InvoiceDelay/time.Second), 0)
	if next.Status == StatusUnpaid {
		at = 0
	}
	t.open(rec, "subscription_cycle", at)
	t.emitUpdate("customer.subscription.updated", before, t.wireSub(rec.get()))
}

// collectDraft charges a renewal, or follows the behavior of a pause of collection.
func (t *tx) collectDraft(rec *subRecord) {
	pause := rec.get().PauseCollection
	if pause == nil {
		t.finalize(rec)
		t.collect(rec)
		return
	}
	switch pause.Behavior {
	case "void":
		inv := t.setInvoice(rec, func(inv *invoice) { inv.status = "void" })
		t.emit("invoice.voided", t.wireInvoice(inv), nil)
	case "mark_uncollectible":
		inv := t.setInvoice(rec, func(inv *invoice) { inv.status = "uncollectible" })
		t.emit("invoice.marked_uncollectible", t.wireInvoice(inv), nil)
	default:
		t.setInvoice(rec, func(inv *invoice) { inv.finalizeAt = 0 })
	}
}

// retry makes the next attempt to collect a failed payment.
func (t *tx) retry(rec *subRecord) {
	next := *rec.get()
	next.nextAttempt = 0
	t.publish(rec, &next)
	t.collect(rec)
}
