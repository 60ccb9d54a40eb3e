package stripesim

import "slices"

// Loader adds objects to an account in bulk. It emits no events and charges nothing, and objects
// may be created at any time in the past.
type Loader struct{ t *tx }

// Load runs fn with the account locked, for accounts with 100,000 subscriptions and more. If fn
// fails, the objects that it has added stay.
func (a *Account) Load(fn func(l *Loader) error) error {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(w.sim.Clock)
	t.loading = true
	err := fn(&Loader{t})
	sortPlaces(w.custList)
	sortPlaces(w.subList)
	w.dueOn(w.sim.Clock).Init()
	return err
}

// Customer adds a customer, created at p.Created.
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

// Subscription adds a subscription with the status and the times of p; the status defaults to
// active.
func (l *Loader) Subscription(p SubscriptionParams) (id string, err error) {
	rec, err := l.t.newSubscription(p)
	if err != nil {
		return "", err
	}
	sortPlaces(rec.owner.subs)
	l.t.reentitle(rec.owner)
	return rec.id, nil
}

// sortPlaces restores the order of a list, unless it is in order already.
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
