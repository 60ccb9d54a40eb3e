package stripesim

import (
	"encoding/json"
	"maps"
	"slices"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/wire"
)

// CustomerInfo names one customer.
type CustomerInfo struct {
	ID      string
	Account string // the connected account; "" for the platform's own
	Live    bool
	Deleted bool
}

// Customers returns every customer of every account and mode, also deleted ones, oldest first
// within each account.
func (s *Sim) Customers() []CustomerInfo {
	var out []CustomerInfo
	for _, w := range s.allWorlds() {
		w.mu.RLock()
		for _, rec := range w.custList {
			out = append(out, CustomerInfo{
				ID: rec.id, Account: w.connectedID(), Live: w.scope.live, Deleted: rec.get().Deleted,
			})
		}
		w.mu.RUnlock()
	}
	return out
}

// Truth is one customer's complete state at one instant, without any fault.
type Truth struct {
	Customer Customer
	// Subscriptions are all subscriptions, also ended ones, newest first.
	Subscriptions []Subscription
	// SubscriptionsJSON is the answer to GET /v1/subscriptions?customer=…&status=all in the shape
	// of [PinnedVersion], as one page of any length, with every item inline and with customer and
	// default_payment_method expanded. Unlike the API's answer it is not empty for a deleted
	// customer.
	SubscriptionsJSON json.RawMessage
	// CustomerJSON is the answer to GET /v1/customers/:id in the same shape.
	CustomerJSON json.RawMessage
	// Entitlements are the lookup keys of the active entitlements. It is empty, not nil, without
	// any.
	Entitlements []string
}

// Truth returns a customer's state, or false if the customer is unknown.
func (a *Account) Truth(customer string) (Truth, bool) {
	w := a.w
	w.mu.RLock()
	defer w.mu.RUnlock()
	rec := w.custs[customer]
	if rec == nil {
		return Truth{}, false
	}
	c := rec.get()
	out := Truth{Customer: *c, Entitlements: []string{}}
	out.Customer.Metadata = maps.Clone(c.Metadata)
	out.Customer.entitlements = nil
	for _, e := range c.entitlements {
		out.Entitlements = append(out.Entitlements, e.feature.LookupKey)
	}
	v := view{w: w, at: now, full: true}
	x := api.Expansion{"customer": nil, "default_payment_method": nil}
	data := make([]*wire.Subscription, 0, len(rec.subs))
	for _, sub := range slices.Backward(rec.subs) {
		s := sub.get()
		data = append(data, v.subscription(s, x))
		out.Subscriptions = append(out.Subscriptions, s.clone())
	}
	out.SubscriptionsJSON = wire.MustJSON(&wire.List{Object: "list", Data: data, URL: "/v1/subscriptions"})
	out.CustomerJSON = wire.MustJSON(v.customer(c, nil))
	return out, true
}

// Subscription returns a subscription's state, or false if the subscription is unknown.
func (a *Account) Subscription(id string) (Subscription, bool) {
	a.w.mu.RLock()
	defer a.w.mu.RUnlock()
	rec := a.w.subs[id]
	if rec == nil {
		return Subscription{}, false
	}
	return rec.get().clone(), true
}

// clone returns a copy that the caller may change.
func (s *Subscription) clone() Subscription {
	out := *s
	out.Items = slices.Clone(s.Items)
	for i := range out.Items {
		out.Items[i].Metadata = maps.Clone(out.Items[i].Metadata)
	}
	out.Metadata = maps.Clone(s.Metadata)
	if s.PauseCollection != nil {
		p := *s.PauseCollection
		out.PauseCollection = &p
	}
	out.invoice, out.grants = nil, nil
	return out
}
