package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// The statuses Stripe documents. [Account.SetStatus] takes any other string too.
const (
	StatusActive            = "active"
	StatusTrialing          = "trialing"
	StatusPastDue           = "past_due"
	StatusUnpaid            = "unpaid"
	StatusPaused            = "paused"
	StatusIncomplete        = "incomplete"
	StatusIncompleteExpired = "incomplete_expired"
	StatusCanceled          = "canceled"
)

// incompleteLife is how long a first payment may take, in seconds.
const incompleteLife = 23 * 3600

// trialNotice is how long before a trial's end trial_will_end comes, in seconds.
const trialNotice = 3 * 86400

// maxItems is Stripe's limit of items per subscription.
const maxItems = 20

// Subscription is a subscription's state. Times are unix seconds, 0 where Stripe has null.
type Subscription struct {
	ID, Customer                         string
	Status                               string
	Items                                []Item
	Created                              int64
	Currency                             string
	BillingCycleAnchor                   int64
	CurrentPeriodStart, CurrentPeriodEnd int64
	TrialStart, TrialEnd                 int64
	// TrialEndBehavior is what a trial's end does without a payment method:
	// create_invoice, pause or cancel.
	TrialEndBehavior              string
	CancelAtPeriodEnd             bool
	CancelAt, CanceledAt, EndedAt int64
	CancellationReason            string
	PauseCollection               *PauseCollection
	DefaultPaymentMethod          string
	Metadata                      map[string]string

	invoice     *invoice
	grants      []*Feature // what the current cycle entitles to
	attempt     int        // failed attempts to collect the open invoice
	nextAttempt int64
	noticeSent  bool // trial_will_end
}

// Item is one line of a subscription.
type Item struct {
	ID, Price string
	Quantity  int64
	Created   int64 // unix seconds
	Metadata  map[string]string
}

// PauseCollection is what Account.PauseCollection set. The status stays as it is.
type PauseCollection struct {
	Behavior  string // keep_as_draft, mark_uncollectible or void
	ResumesAt int64  // unix seconds, 0 for never
}

// SubscriptionParams describe a new subscription.
type SubscriptionParams struct {
	ID       string // drawn when empty
	Customer string
	Items    []ItemParams
	// TrialDays starts a trial; TrialEnd, unix seconds, wins over it.
	TrialDays int
	TrialEnd  int64
	// TrialEndBehavior defaults to create_invoice; pause and cancel apply when there is
	// no payment method at the trial's end.
	TrialEndBehavior string
	// DefaultIncomplete waits for [Account.PayInvoice]: the status is incomplete for up
	// to 23 h, then incomplete_expired.
	DefaultIncomplete    bool
	CancelAtPeriodEnd    bool
	CancelAt             int64 // unix seconds
	DefaultPaymentMethod string
	Metadata             map[string]string

	// Status, Created, CurrentPeriodStart and CurrentPeriodEnd are honoured by
	// [Account.Load] only.
	Status                               string
	Created                              int64
	CurrentPeriodStart, CurrentPeriodEnd int64
}

// ItemParams describe a new item. Quantity defaults to 1.
type ItemParams struct {
	Price    string
	Quantity int64
	Metadata map[string]string
}

// CreateSubscription charges the first period at once unless there is a trial, the price
// is free or DefaultIncomplete is set. A failing charge leaves it incomplete; a customer
// without a payment method is an error, as at Stripe.
func (a *Account) CreateSubscription(p SubscriptionParams) (id string, err error) {
	err = a.step(func(t *tx) error {
		rec, err := t.newSubscription(p)
		if err != nil {
			return err
		}
		id = rec.id
		s := rec.get()
		if s.Status == StatusIncomplete && !p.DefaultIncomplete && t.canPay(rec) {
			// Synchronous success: Stripe's created event already says active.
			next := *s
			next.Status = StatusActive
			t.publish(rec, &next)
		}
		t.open(rec, "subscription_create", t.now)
		t.emit("customer.subscription.created", t.wireSub(rec.get()), nil)
		if s := rec.get(); s.Status == StatusTrialing && s.noticeAt() <= t.now {
			t.notice(rec)
		}
		t.finalize(rec)
		if !p.DefaultIncomplete {
			t.collect(rec)
		}
		t.reentitle(rec.owner)
		return nil
	})
	return id, err
}

// newSubscription checks p and publishes the subscription, trialing, incomplete or, when
// free, active. It emits nothing.
func (t *tx) newSubscription(p SubscriptionParams) (*subRecord, error) {
	owner, err := t.customer(p.Customer)
	if err != nil {
		return nil, err
	}
	if p.ID == "" {
		p.ID = newID(t.rng, "sub_1", 23)
	}
	if t.subs[p.ID] != nil {
		return nil, fmt.Errorf("subscription %s: already exists", p.ID)
	}
	if p.DefaultPaymentMethod != "" && !t.owns(owner, p.DefaultPaymentMethod) {
		return nil, fmt.Errorf("no such payment method: %q", p.DefaultPaymentMethod)
	}
	created := t.now
	if t.loading && p.Created != 0 {
		created = p.Created
	}
	s := &Subscription{
		ID: p.ID, Customer: p.Customer, Created: created, BillingCycleAnchor: created,
		CurrentPeriodStart: created, TrialEndBehavior: cmp.Or(p.TrialEndBehavior, "create_invoice"),
		CancelAtPeriodEnd: p.CancelAtPeriodEnd, CancelAt: p.CancelAt,
		DefaultPaymentMethod: p.DefaultPaymentMethod, Metadata: maps.Clone(p.Metadata),
	}
	if s.Items, err = t.newItems(p.Items, created); err != nil {
		return nil, fmt.Errorf("subscription %s: %w", p.ID, err)
	}
	first := t.prices[s.Items[0].Price].get()
	s.Currency = first.Currency
	trialEnd := p.TrialEnd
	if trialEnd == 0 && p.TrialDays > 0 {
		trialEnd = created + int64(p.TrialDays)*86400
	}
	switch {
	case trialEnd > created:
		s.Status, s.TrialStart, s.TrialEnd = StatusTrialing, created, trialEnd
		s.CurrentPeriodEnd, s.BillingCycleAnchor = trialEnd, trialEnd
	case t.amount(s) == 0:
		s.Status = StatusActive
	default:
		s.Status = StatusIncomplete
		if !p.DefaultIncomplete && !t.loading && !hasMethod(owner.get(), s) {
			return nil, fmt.Errorf("customer %s: this customer has no attached payment source or default payment method", p.Customer)
		}
	}
	if s.CurrentPeriodEnd == 0 {
		s.CurrentPeriodEnd = first.cycleAfter(s.BillingCycleAnchor, created)
	}
	if t.loading {
		s.load(p)
	}
	if s.CancelAtPeriodEnd && !s.ended() {
		s.CancelAt, s.CanceledAt, s.CancellationReason = s.CurrentPeriodEnd, created, "cancellation_requested"
	}
	s.grants = t.grantsOf(s)
	rec := &subRecord{place: t.place(p.ID, created), owner: owner}
	t.subs[p.ID] = rec
	t.subList = append(t.subList, rec)
	owner.subs = append(owner.subs, rec)
	t.publish(rec, s)
	return rec, nil
}

// load overrides what only a bulk load may choose.
func (s *Subscription) load(p SubscriptionParams) {
	if s.Status == StatusIncomplete {
		s.Status = StatusActive
	}
	s.Status = cmp.Or(p.Status, s.Status)
	s.CurrentPeriodStart = cmp.Or(p.CurrentPeriodStart, s.CurrentPeriodStart)
	s.CurrentPeriodEnd = cmp.Or(p.CurrentPeriodEnd, s.CurrentPeriodEnd)
	if s.ended() {
		s.CanceledAt, s.EndedAt = s.CurrentPeriodEnd, s.CurrentPeriodEnd
	}
}

func (t *tx) owns(rec *custRecord, method string) bool {
	m := t.methods[method]
	return m != nil && m.get().Customer == rec.id
}

func (t *tx) newItems(params []ItemParams, created int64) ([]Item, error) {
	if len(params) == 0 || len(params) > maxItems {
		return nil, fmt.Errorf("%d items: want 1 to %d", len(params), maxItems)
	}
	items := make([]Item, 0, len(params))
	for _, p := range params {
		if err := t.fits(items, p.Price); err != nil {
			return nil, err
		}
		items = append(items, Item{
			ID: newID(t.rng, "si_", 14), Price: p.Price, Quantity: cmp.Or(p.Quantity, 1),
			Created: created, Metadata: maps.Clone(p.Metadata),
		})
	}
	return items, nil
}

// fits refuses what classic billing refuses: a price twice, and mixed intervals or
// currencies.
func (t *tx) fits(items []Item, price string) error {
	rec := t.prices[price]
	if rec == nil {
		return fmt.Errorf("no such price: %q", price)
	}
	if slices.ContainsFunc(items, func(it Item) bool { return it.Price == price }) {
		return fmt.Errorf("price %s: already on the subscription", price)
	}
	if len(items) > 0 {
		a, b := t.prices[items[0].Price].get(), rec.get()
		if a.Interval != b.Interval || a.IntervalCount != b.IntervalCount || a.Currency != b.Currency {
			return fmt.Errorf("price %s: all prices must have the same interval and currency", price)
		}
	}
	return nil
}

// amount is the price of one period.
func (t *tx) amount(s *Subscription) (sum int64) {
	for _, it := range s.Items {
		sum += t.prices[it.Price].get().UnitAmount * it.Quantity
	}
	return sum
}

// noticeAt is when trial_will_end is due, in unix seconds.
func (s *Subscription) noticeAt() int64 { return max(s.Created, s.TrialEnd-trialNotice) }

func (s *Subscription) ended() bool {
	return s.Status == StatusCanceled || s.Status == StatusIncompleteExpired
}

// due is when time next changes this subscription, in unix seconds; 0 for never.
func (s *Subscription) due() int64 {
	var at int64
	sooner := func(u int64) {
		if u != 0 && (at == 0 || u < at) {
			at = u
		}
	}
	switch s.Status {
	case StatusActive, StatusPastDue, StatusUnpaid:
		sooner(s.CurrentPeriodEnd)
		sooner(s.nextAttempt)
		if s.invoice != nil && s.invoice.status == "draft" {
			sooner(s.invoice.finalizeAt)
		}
	case StatusTrialing:
		sooner(s.TrialEnd)
		if !s.noticeSent {
			sooner(s.noticeAt())
		}
	case StatusIncomplete:
		sooner(s.Created + incompleteLife)
	case StatusPaused:
	default:
		return 0
	}
	sooner(s.CancelAt)
	if s.PauseCollection != nil {
		sooner(s.PauseCollection.ResumesAt)
	}
	return at
}

// publish makes next the subscription's state and books its next change.
func (t *tx) publish(rec *subRecord, next *Subscription) {
	rec.set(next, t.stamp)
	t.due.book(rec, next.due(), t.loading)
}

// updateSub publishes a changed copy and emits customer.subscription.updated if what the
// API shows differs.
func (t *tx) updateSub(rec *subRecord, change func(*Subscription)) {
	old := rec.get()
	next := *old
	change(&next)
	before := t.wireSub(old)
	t.publish(rec, &next)
	t.emitUpdate("customer.subscription.updated", before, t.wireSub(&next))
}
