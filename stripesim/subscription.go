package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"entitled/stripesim/internal/ids"
)

// The subscription statuses that Stripe documents. [Account.SetStatus] also takes any other string.
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

// incompleteLife is how long a subscription may stay incomplete, in seconds.
const incompleteLife = 23 * 3600

// trialNotice is how long before a trial's end trial_will_end is emitted, in seconds.
const trialNotice = 3 * 86400

// maxItems is Stripe's limit of items per subscription.
const maxItems = 20

// Subscription is a subscription's state. Times are unix seconds; 0 stands for Stripe's null.
type Subscription struct {
	ID, Customer                         string
	Status                               string
	Items                                []Item
	Created                              int64
	Currency                             string
	BillingCycleAnchor                   int64
	CurrentPeriodStart, CurrentPeriodEnd int64
	TrialStart, TrialEnd                 int64
	// TrialEndBehavior decides how a trial ends without a payment method: create_invoice, pause or
	// cancel.
	TrialEndBehavior              string
	CancelAtPeriodEnd             bool
	CancelAt, CanceledAt, EndedAt int64
	CancellationReason            string
	PauseCollection               *PauseCollection
	DefaultPaymentMethod          string
	Metadata                      map[string]string

	invoice     *invoice
	grants      []*feature // features of the current billing cycle
	attempt     int        // failed attempts to collect the open invoice
	nextAttempt int64
	noticeSent  bool // trial_will_end has been emitted
}

// Item is one line of a subscription.
type Item struct {
	ID, Price string
	Quantity  int64
	Created   int64 // unix seconds
	Metadata  map[string]string
}

// PauseCollection is the pause that [Account.PauseCollection] sets. It does not change the status.
type PauseCollection struct {
	Behavior  string // keep_as_draft, mark_uncollectible or void
	ResumesAt int64  // unix seconds; 0 means never
}

// SubscriptionParams describe a new subscription.
type SubscriptionParams struct {
	ID       string       // defaults to a generated id
	Customer string       // the id of an existing customer
	Items    []ItemParams // 1 to 20, with one interval and currency
	// TrialDays starts a trial. TrialEnd, in unix seconds, takes precedence.
	TrialDays int
	TrialEnd  int64
	// TrialEndBehavior decides how the trial ends without a payment method: create_invoice, pause
	// or cancel. Defaults to create_invoice.
	TrialEndBehavior string
	// DefaultIncomplete leaves the first invoice to [Account.PayInvoice]. Without a payment the
	// status is incomplete for 23 h, then incomplete_expired.
	DefaultIncomplete    bool
	CancelAtPeriodEnd    bool
	CancelAt             int64  // unix seconds
	DefaultPaymentMethod string // "" means the customer's
	Metadata             map[string]string

	// Only [Account.Load] uses Status, Created, CurrentPeriodStart and CurrentPeriodEnd. Times are
	// in unix seconds.
	Status                               string
	Created                              int64
	CurrentPeriodStart, CurrentPeriodEnd int64
}

// ItemParams describe a new item of a subscription.
type ItemParams struct {
	Price    string // the id of an existing price
	Quantity int64  // defaults to 1
	Metadata map[string]string
}

// CreateSubscription creates a subscription. It charges the first period at once, unless there is a
// trial, the price is free or DefaultIncomplete is set. If the charge fails, the status is
// incomplete. As at Stripe, it is an error if the customer has no payment method.
func (a *Account) CreateSubscription(p SubscriptionParams) (id string, err error) {
	err = a.step(func(t *tx) error {
		rec, err := t.newSubscription(p)
		if err != nil {
			return err
		}
		id = rec.id
		s := rec.get()
		if s.Status == StatusIncomplete && !p.DefaultIncomplete && t.canPay(rec) {
			// If the charge succeeds, Stripe's created event already has the status active.
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

// newSubscription checks p and publishes the subscription with the status trialing, incomplete or,
// if it is free, active. It emits no event.
func (t *tx) newSubscription(p SubscriptionParams) (*subRecord, error) {
	owner, err := t.customer(p.Customer)
	if err != nil {
		return nil, err
	}
	if p.ID == "" {
		p.ID = ids.New(t.rng, "sub_1", 23)
	}
	if t.subs[p.ID] != nil {
		return nil, fmt.Errorf("subscription %s: already exists", p.ID)
	}
	if p.DefaultPaymentMethod != "" && !t.owns(owner, p.DefaultPaymentMethod) {
		return nil, fmt.Errorf("no such payment method: %q", p.DefaultPaymentMethod)
	}
	created, listed := t.now, t.listed
	if t.loading && p.Created != 0 {
		created, listed = p.Created, p.Created
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
			return nil, fmt.Errorf("customer %s: "+
				"this customer has no attached payment source or default payment method", p.Customer)
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
	rec := &subRecord{place: t.place(p.ID, listed), owner: owner}
	t.subs[p.ID] = rec
	t.subList = append(t.subList, rec)
	owner.subs = append(owner.subs, rec)
	t.publish(rec, s)
	return rec, nil
}

// load sets the fields that only [Account.Load] uses.
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
			ID: ids.New(t.rng, "si_", 14), Price: p.Price, Quantity: cmp.Or(p.Quantity, 1),
			Created: created, Metadata: maps.Clone(p.Metadata),
		})
	}
	return items, nil
}

// fits returns an error if a price cannot join items. As in Stripe's classic billing, a
// subscription has each price once, and one interval and currency.
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

// amount returns the price of one period.
func (t *tx) amount(s *Subscription) (sum int64) {
	for _, it := range s.Items {
		sum += t.prices[it.Price].get().UnitAmount * it.Quantity
	}
	return sum
}

// noticeAt returns when trial_will_end is due, in unix seconds.
func (s *Subscription) noticeAt() int64 { return max(s.Created, s.TrialEnd-trialNotice) }

func (s *Subscription) ended() bool {
	return s.Status == StatusCanceled || s.Status == StatusIncompleteExpired
}

// due returns when the clock changes this subscription next, in unix seconds; 0 means never.
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

// publish makes next the subscription's state and schedules its next change.
func (t *tx) publish(rec *subRecord, next *Subscription) {
	rec.set(next, t.stamp)
	t.dueOn(rec.owner.clock).Book(rec, next.due(), t.loading)
}

// updateSub publishes a changed copy and emits customer.subscription.updated if a field of the API
// object differs.
func (t *tx) updateSub(rec *subRecord, change func(*Subscription)) {
	old := rec.get()
	next := *old
	change(&next)
	before := t.wireSub(old)
	t.publish(rec, &next)
	t.emitUpdate("customer.subscription.updated", before, t.wireSub(&next))
}
