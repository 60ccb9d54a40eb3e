package stripesim

import (
	"container/heap"
	"slices"
)

// Loader fills an account in bulk: no events, no charges, any past.
type Loader struct{ t *tx }

// Load runs fn with the account locked. It is meant for 100,000 subscriptions and more.
// What fn added before an error stays.
func (a *Account) Load(fn func(l *Loader) error) error {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(w.sim.Now().Unix())
	t.loading = true
	err := fn(&Loader{t})
	sortPlaces(w.custList)
	sortPlaces(w.subList)
	heap.Init(&w.due)
	return err
}

// Customer adds a customer, created when p.Created says.
func (l *Loader) Customer(p CustomerParams) (id string, err error) {
	rec, err := l.t.newCustomer(p)
	if err != nil {
		return "", err
	}
	if !p.NoPaymentMethod {
		l.t.attach(rec, p.card(), true)
	}
	return rec.id, nil
}

// Subscription adds a subscription in the status, and with the times, that p says;
// active by default.
func (l *Loader) Subscription(p SubscriptionParams) (id string, err error) {
	rec, err := l.t.newSubscription(p)
	if err != nil {
		return "", err
	}
	sortPlaces(rec.owner.subs)
	l.t.reentitle(rec.owner)
	return rec.id, nil
}

// sortPlaces restores the order of a list, at no cost when it is in order.
func sortPlaces[R placed](all []R) {
	before := func(a, b R) int {
		switch {
		case a.at().less(b.at()):
			return -1
		case b.at().less(a.at()):
			return 1
		}
		return 0
	}
	if !slices.IsSortedFunc(all, before) {
		slices.SortFunc(all, before)
	}
}
