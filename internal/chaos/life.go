package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// life is the behavior of customers, drawn from the seed.
type life struct {
	sim    *stripesim.Sim
	stage  *stage
	rng    *rand.Rand
	people []*person
	most   int
}

// A person is a customer of an account.
type person struct {
	*stripesim.Account
	customer stripeevent.Customer
	subs     []string
	buying   *stripesim.Checkout
}

var prices = []string{"price_starter_monthly", "price_pro_monthly", "price_team_monthly"}

// A third of the customers exist from the beginning, and one has more subscriptions than a page, of
// every status, so that a document has much to decide about.
func newLife(s *stage, rng *rand.Rand) (*life, error) {
	l := &life{sim: s.sim, stage: s, rng: rng, most: s.cfg.Customers}
	for _, a := range accounts[1:] {
		if err := s.account(a).DemoCatalog(); err != nil {
			return nil, err
		}
	}
	// newcomer asks the run for room; the door is there already.
	for len(l.people) < max(l.most/3, 1) {
		if err := l.arrive(); err != nil {
			return nil, err
		}
	}
	whale := l.people[0]
	err := whale.Load(func(to *stripesim.Loader) error {
		statuses := []string{"active", "past_due", "trialing", "unpaid", "past_due", "paused"}
		for n := range 104 {
			items := l.items(1)
			if n%2 == 0 {
				more := l.items(1)[0]
				if more.Price != items[0].Price {
					items = append(items, more)
				}
			}
			id, err := to.Subscription(stripesim.SubscriptionParams{
				Customer: whale.customer.ID, Items: items, Status: statuses[n%len(statuses)], CancelAtPeriodEnd: n%9 == 0,
			})
			if err != nil {
				return err
			}
			whale.subs = append(whale.subs, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("a customer of many subscriptions: %w", err)
	}
	return l, whale.UpdateCustomer(whale.customer.ID, map[string]string{"size": "large"})
}

func (l *life) arrive() error {
	account := accounts[l.rng.IntN(len(accounts))]
	p := &person{Account: l.stage.account(account)}
	id, err := p.CreateCustomer(stripesim.CustomerParams{
		ID: fmt.Sprintf("cus_%d", len(l.people)), Metadata: map[string]string{"n": fmt.Sprint(len(l.people))},
	})
	if err != nil {
		return fmt.Errorf("create customer: %w", err)
	}
	p.customer = stripeevent.Customer{Mode: entitlement.Test, Account: account, ID: id}
	l.people = append(l.people, p)
	return nil
}

func (l *life) items(n int) (items []stripesim.ItemParams) {
	for range n {
		items = append(items, stripesim.ItemParams{
			Price: prices[l.rng.IntN(len(prices))], Quantity: 1 + l.rng.Int64N(5),
		})
	}
	return items
}

// step makes one thing happen. Actions that the simulator refuses, as canceling an ended
// subscription, did not happen.
func (l *life) step() {
	switch n := l.rng.IntN(100); {
	case n < 4 && len(l.people) < l.most:
		_ = l.arrive()
		return
	case n < 7:
		l.sim.Advance(time.Duration(l.rng.Int64N(int64(40 * time.Hour))))
		return
	case n < 8:
		a := l.stage.account(accounts[l.rng.IntN(len(accounts))])
		_ = a.GuestPayment(100)
		_ = a.UpdateProduct("prod_pro", fmt.Sprintf("Pro %d", l.rng.IntN(100)), nil)
		l.catalog(a)
		return
	case n < 9:
		l.resend()
		return
	}
	// A few are busy, most are quiet.
	who := l.rng.IntN(len(l.people))
	if l.rng.IntN(3) == 0 {
		who %= 8
	}
	p := l.people[who%len(l.people)]
	if p.buying != nil {
		if more, err := p.buying.Next(); err != nil || !more {
			if p.buying.Subscription != "" {
				p.subs = append(p.subs, p.buying.Subscription)
			}
			p.buying = nil
		}
		return
	}
	if len(p.subs) == 0 || l.rng.IntN(12) == 0 {
		l.begin(p)
		return
	}
	l.change(p, p.subs[l.rng.IntN(len(p.subs))])
}

// resend sends an old event again.
func (l *life) resend() {
	a := l.people[l.rng.IntN(len(l.people))].Account
	if events := a.Events(); len(events) > 0 {
		a.Redeliver(events[l.rng.IntN(len(events))].ID)
	}
}

func (l *life) begin(p *person) {
	id := p.customer.ID
	switch l.rng.IntN(5) {
	case 0, 1:
		p.buying = p.BeginCheckout(stripesim.CheckoutParams{
			Customer: id, Price: prices[l.rng.IntN(len(prices))], TrialDays: l.rng.IntN(2) * 7,
		})
	default:
		sub, err := p.CreateSubscription(stripesim.SubscriptionParams{
			Customer: id, Items: l.items(1), TrialDays: l.rng.IntN(3) * 7, DefaultIncomplete: l.rng.IntN(6) == 0,
			Metadata: map[string]string{"seat": fmt.Sprint(l.rng.IntN(9))},
		})
		if err == nil {
			p.subs = append(p.subs, sub)
		}
	}
}

// change changes a subscription or its customer.
func (l *life) change(p *person, sub string) {
	id := p.customer.ID
	ahead := l.sim.Now().Add(time.Duration(1+l.rng.Int64N(600)) * time.Hour)
	item := ""
	if s, ok := p.Subscription(sub); ok && len(s.Items) > 0 {
		item = s.Items[l.rng.IntN(len(s.Items))].ID
	}
	switch l.rng.IntN(24) {
	case 0:
		_ = p.Cancel(sub)
	case 1, 2:
		_ = p.CancelAtPeriodEnd(sub)
	case 3, 4:
		_ = p.UndoCancel(sub)
	case 5:
		// Changed and changed back within one second of Stripe's clock.
		_ = p.CancelAtPeriodEnd(sub)
		_ = p.UndoCancel(sub)
	case 6:
		_ = p.CancelAt(sub, ahead)
	case 7:
		_ = p.PauseCollection(sub, "void", ahead)
	case 8:
		_ = p.ResumeCollection(sub)
	case 9:
		_ = p.Resume(sub)
	case 10, 11:
		_ = p.ChangePrice(sub, prices[l.rng.IntN(len(prices))])
	case 12, 13:
		_, _ = p.AddItem(sub, l.items(1)[0])
	case 14:
		_ = p.RemoveItem(sub, item)
	case 15, 16:
		_ = p.SetQuantity(sub, item, 1+l.rng.Int64N(20))
	case 17:
		method, err := p.AttachPaymentMethod(id,
			stripesim.PaymentMethodParams{Brand: "mastercard", Last4: fmt.Sprintf("%04d", l.rng.IntN(10000))},
			l.rng.IntN(2) == 0)
		if err == nil {
			_ = p.SetDefaultPaymentMethod(sub, method)
		}
	case 18:
		if s, ok := p.Subscription(sub); ok && s.DefaultPaymentMethod != "" {
			_ = p.DetachPaymentMethod(s.DefaultPaymentMethod)
		}
	case 19:
		_ = p.FailPayments(id)
	case 20:
		_ = p.RecoverPayments(id)
		_ = p.PayInvoice(sub)
	case 21:
		_ = p.UpdateCustomer(id, map[string]string{
			"step": fmt.Sprint(l.rng.IntN(1000)), giftWord: pickOne(l.rng, "", "", "gift"),
		})
	case 22:
		_ = p.UpdateSubscription(sub, map[string]string{"step": fmt.Sprint(l.rng.IntN(1000))})
	case 23:
		if l.rng.IntN(4) == 0 {
			_ = p.DeleteCustomer(id)
			p.subs, p.buying = nil, nil
			return
		}
		_ = p.SetStatus(sub, []string{"past_due", "unpaid", "paused", "active", "a_status_of_tomorrow"}[l.rng.IntN(5)])
	}
}
