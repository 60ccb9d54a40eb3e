package stripesim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
)

// change runs fn on a subscription that has not ended and updates the customer's entitlements, as
// one step.
func (a *Account) change(sub string, fn func(t *tx, rec *subRecord) error) error {
	return a.step(func(t *tx) error {
		rec := t.subs[sub]
		if rec == nil {
			return fmt.Errorf("no such subscription: %q", sub)
		}
		if rec.get().ended() {
			return fmt.Errorf("subscription %s: has ended", sub)
		}
		t.of(rec.owner)
		if err := fn(t, rec); err != nil {
			return fmt.Errorf("subscription %s: %w", sub, err)
		}
		t.reentitle(rec.owner)
		return nil
	})
}

// Cancel ends a subscription now and emits customer.subscription.deleted.
func (a *Account) Cancel(sub string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		t.cancelNow(rec, "cancellation_requested")
		return nil
	})
}

func (t *tx) cancelNow(rec *subRecord, reason string) {
	next := *rec.get()
	next.Status, next.EndedAt = StatusCanceled, t.now
	if next.CanceledAt == 0 {
		next.CanceledAt = t.now
	}
	if next.CancellationReason == "" {
		next.CancellationReason = reason
	}
	next.nextAttempt = 0
	t.publish(rec, &next)
	t.emit("customer.subscription.deleted", t.wireSub(&next), nil)
}

// CancelAtPeriodEnd cancels the subscription at the end of its current period.
func (a *Account) CancelAtPeriodEnd(sub string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		t.updateSub(rec, func(s *Subscription) {
			s.CancelAtPeriodEnd, s.CancelAt, s.CanceledAt = true, s.CurrentPeriodEnd, t.now
			s.CancellationReason = "cancellation_requested"
		})
		return nil
	})
}

// CancelAt cancels the subscription at a time that must be in the future of the simulator's clock.
func (a *Account) CancelAt(sub string, at time.Time) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		if at.Unix() <= t.now {
			return fmt.Errorf("cancel_at %d is not after the current time %d", at.Unix(), t.now)
		}
		t.updateSub(rec, func(s *Subscription) {
			s.CancelAtPeriodEnd, s.CancelAt, s.CanceledAt = false, at.Unix(), t.now
			s.CancellationReason = "cancellation_requested"
		})
		return nil
	})
}

// UndoCancel removes a scheduled wire.Cancellation.
func (a *Account) UndoCancel(sub string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		t.updateSub(rec, func(s *Subscription) {
			s.CancelAtPeriodEnd, s.CancelAt, s.CanceledAt, s.CancellationReason = false, 0, 0, ""
		})
		return nil
	})
}

// Resume continues a paused subscription with a new period, which is charged at once. If the charge
// fails, the status is past_due.
func (a *Account) Resume(sub string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		if rec.get().Status != StatusPaused {
			return fmt.Errorf("status is %s: only a paused subscription can be resumed", rec.get().Status)
		}
		t.updateSub(rec, func(s *Subscription) {
			s.Status = StatusActive
			t.startCycle(s, t.now)
		})
		t.emit("customer.subscription.resumed", t.wireSub(rec.get()), nil)
		t.bill(rec)
		return nil
	})
}

// PauseCollection stops the collection of payments until resumesAt; the zero time means until
// [Account.ResumeCollection]. The status does not change. Behavior is keep_as_draft,
// mark_uncollectible or void.
func (a *Account) PauseCollection(sub, behavior string, resumesAt time.Time) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		if !slices.Contains([]string{"keep_as_draft", "mark_uncollectible", "void"}, behavior) {
			return fmt.Errorf("pause behavior %q: want keep_as_draft, mark_uncollectible or void", behavior)
		}
		pause := &PauseCollection{Behavior: behavior}
		if !resumesAt.IsZero() {
			pause.ResumesAt = resumesAt.Unix()
		}
		t.updateSub(rec, func(s *Subscription) { s.PauseCollection = pause })
		return nil
	})
}

// ResumeCollection ends the pause of [Account.PauseCollection].
func (a *Account) ResumeCollection(sub string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		t.updateSub(rec, func(s *Subscription) { s.PauseCollection = nil })
		return nil
	})
}

// SetStatus sets any status, also one that Stripe does not document; the clock does not change a
// subscription with such a status. The status canceled emits customer.subscription.deleted.
// Canceled and incomplete_expired set ended_at, any other status clears it.
func (a *Account) SetStatus(sub, status string) error {
	return a.step(func(t *tx) error {
		rec := t.subs[sub]
		if rec == nil {
			return fmt.Errorf("no such subscription: %q", sub)
		}
		if rec.owner.get().Deleted {
			return fmt.Errorf("subscription %s: customer %s is deleted", sub, rec.owner.id)
		}
		t.of(rec.owner)
		if status == StatusCanceled {
			if !rec.get().ended() {
				t.cancelNow(rec, "cancellation_requested")
			}
		} else {
			t.updateSub(rec, func(s *Subscription) {
				s.Status = status
				if s.EndedAt = 0; status == StatusIncompleteExpired {
					s.EndedAt = t.now
				}
			})
		}
		t.reentitle(rec.owner)
		return nil
	})
}

// UpdateSubscription merges metadata into the subscription's. An empty value removes its key.
func (a *Account) UpdateSubscription(sub string, metadata map[string]string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		t.updateSub(rec, func(s *Subscription) { s.Metadata = api.MergeMetadata(s.Metadata, metadata) })
		return nil
	})
}

// SetDefaultPaymentMethod sets the subscription's payment method; "" means the customer's default.
func (a *Account) SetDefaultPaymentMethod(sub, method string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		if method != "" && !t.owns(rec.owner, method) {
			return fmt.Errorf("no such payment method: %q", method)
		}
		t.updateSub(rec, func(s *Subscription) { s.DefaultPaymentMethod = method })
		return nil
	})
}

// ChangePrice changes the price of the first item and emits prorations. If the interval differs, a
// new period starts and is charged at once, unless the subscription is in its trial.
func (a *Account) ChangePrice(sub, price string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		old := rec.get()
		if old.Items[0].Price == price {
			return fmt.Errorf("price %s: already the price", price)
		}
		if err := t.fits(old.Items[1:], price); err != nil {
			return err
		}
		from, to := t.prices[old.Items[0].Price].get(), t.prices[price].get()
		newCycle := from.Interval != to.Interval || from.IntervalCount != to.IntervalCount
		t.emit("invoiceitem.created", t.wireProration(rec, from, -1), nil)
		t.emit("invoiceitem.created", t.wireProration(rec, to, 1), nil)
		t.updateSub(rec, func(s *Subscription) {
			s.Items = slices.Clone(s.Items)
			s.Items[0].Price = price
			s.grants = t.grantsOf(s)
			if newCycle && s.Status != StatusTrialing {
				t.startCycle(s, t.now)
			}
		})
		if newCycle && old.Status != StatusTrialing {
			t.bill(rec)
		}
		return nil
	})
}

// AddItem adds an item to the subscription.
func (a *Account) AddItem(sub string, p ItemParams) (id string, err error) {
	err = a.change(sub, func(t *tx, rec *subRecord) error {
		old := rec.get()
		if len(old.Items) >= maxItems {
			return fmt.Errorf("already has %d items", maxItems)
		}
		if err := t.fits(old.Items, p.Price); err != nil {
			return err
		}
		item := Item{
			ID: ids.New(t.rng, "si_", 14), Price: p.Price, Quantity: max(p.Quantity, 1),
			Created: t.now, Metadata: maps.Clone(p.Metadata),
		}
		id = item.ID
		t.setItems(rec, append(slices.Clone(old.Items), item))
		return nil
	})
	return id, err
}

// RemoveItem removes an item. It is an error to remove the last one.
func (a *Account) RemoveItem(sub, item string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		old := rec.get()
		i, err := old.item(item)
		if err != nil {
			return err
		}
		if len(old.Items) == 1 {
			return fmt.Errorf("item %s is the only item", item)
		}
		t.setItems(rec, slices.Delete(slices.Clone(old.Items), i, i+1))
		return nil
	})
}

// SetQuantity sets an item's quantity.
func (a *Account) SetQuantity(sub, item string, quantity int64) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		old := rec.get()
		i, err := old.item(item)
		if err != nil {
			return err
		}
		items := slices.Clone(old.Items)
		items[i].Quantity = quantity
		t.setItems(rec, items)
		return nil
	})
}

func (s *Subscription) item(id string) (int, error) {
	i := slices.IndexFunc(s.Items, func(it Item) bool { return it.ID == id })
	if i < 0 {
		return 0, fmt.Errorf("no such item: %q", id)
	}
	return i, nil
}

func (t *tx) setItems(rec *subRecord, items []Item) {
	t.updateSub(rec, func(s *Subscription) {
		s.Items = items
		s.grants = t.grantsOf(s)
	})
}

// PayInvoice tries to pay the latest invoice now, as if the customer confirmed the payment. It
// returns nil if the charge fails; the status then stays as it is.
func (a *Account) PayInvoice(sub string) error {
	return a.change(sub, func(t *tx, rec *subRecord) error {
		s := rec.get()
		if s.invoice == nil || s.invoice.status == "paid" {
			return errors.New("there is no invoice to pay")
		}
		t.finalize(rec)
		t.collect(rec)
		return nil
	})
}
