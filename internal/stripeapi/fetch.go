package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement/snapshot"
)

// State is the complete state of one customer.
type State struct {
	// Account and ID are the arguments of Fetch.
	Account, ID string
	// Mode is the mode of the key, and of every object in Subscriptions.
	Mode snapshot.Mode
	// Deleted reports that the customer was deleted, or that Stripe does not know it. The fields
	// below are then empty.
	Deleted bool
	// Metadata is the customer's.
	Metadata map[string]string
	// Subscriptions are all subscriptions of every status, each with all its items, in no
	// particular order.
	Subscriptions []*stripe.Subscription
	// Features are the lookup keys of the active entitlements, sorted; nil if they were not read
	// ([Client.Entitlements]).
	Features []string
	// Unasked says that Features is empty because the Stripe account has no feature: nobody asked
	// for this customer's.
	Unasked bool
}

// Trace counts the requests of a read, also of one that failed.
type Trace struct {
	// Requests counts the HTTP requests sent.
	Requests int
	// RequestIDs are Stripe's ids of the answered requests, in order.
	RequestIDs []string
}

func (t *Trace) last() string {
	if len(t.RequestIDs) == 0 {
		return ""
	}
	return t.RequestIDs[len(t.RequestIDs)-1]
}

// pageSize is the largest page that Stripe serves.
const pageSize = 100

// A fetch is one read of one customer.
type fetch struct {
	*pager
	customer string
}

// Fetch reads the full current state of a customer of a connected account, or of the key's own
// account if account is empty. The caller holds the permit of the first request. Fetch calls permit
// before each further request; an error of permit ends the fetch.
//
// For a customer that is deleted or unknown to Stripe, Fetch returns a State with Deleted set, not
// an error. An error is an [*Error] or wraps the error of permit.
func (c *Client) Fetch(
	ctx context.Context, account, customer string, permit func(context.Context) error,
) (State, Trace, error) {
	if customer == "" {
		return State{}, Trace{}, errors.New("fetch: no customer id")
	}
	f := &fetch{pager: &pager{c: c, account: account, permit: permit}, customer: customer}
	s, err := f.state(ctx)
	if err != nil {
		return State{}, f.trace, err
	}
	s.Account, s.ID, s.Mode = account, customer, c.mode
	return s, f.trace, nil
}

func (f *fetch) state(ctx context.Context) (State, error) {
	var s State
	err := f.subscriptions(ctx, &s)
	if err == nil && !s.Deleted && f.c.features {
		s.Features, err = f.entitlements(ctx)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.customerMissing() {
		return f.confirmGone(ctx, e)
	}
	if err != nil || s.Deleted {
		return State{Deleted: s.Deleted}, err
	}
	return s, nil
}

// subscriptions fills in every field that does not depend on entitlements.
func (f *fetch) subscriptions(ctx context.Context, s *State) error {
	params := subscriptionParams()
	params.Customer = &f.customer
	r := f.request(OpListSubscriptions, "/v1/subscriptions", params)
	subs, err := all(ctx, f.pager, r, &params.ListParams, f.belongs)
	if err != nil {
		return err
	}
	known := false
	for _, sub := range subs {
		if sub.Customer.Deleted {
			s.Deleted = true
			return nil
		}
		if expanded(sub) {
			known, s.Metadata = true, sub.Customer.Metadata
		}
	}
	// There is no subscription, or the server ignored the expansion (a proxy or a fake may).
	if !known {
		cust, err := f.retrieve(ctx)
		if err != nil {
			return err
		}
		s.Deleted, s.Metadata = cust.Deleted, cust.Metadata
		if s.Deleted {
			return nil
		}
	}
	s.Subscriptions = subs
	return f.items(ctx, subs)
}

// belongs returns the id of a subscription, or an error if it belongs to another customer.
func (f *fetch) belongs(sub *stripe.Subscription) (string, error) {
	id, err := f.c.sound(sub)
	if err == nil && sub.Customer.ID != f.customer {
		err = fmt.Errorf("subscription %s belongs to customer %s, not %s",
			clip(id), clip(sub.Customer.ID), clip(f.customer))
	}
	return id, err
}

func (f *fetch) retrieve(ctx context.Context) (*stripe.Customer, error) {
	r := f.request(OpRetrieveCustomer, stripe.FormatURLPath("/v1/customers/%s", f.customer), nil)
	if err := f.next(ctx, r); err != nil {
		return nil, err
	}
	cust := &stripe.Customer{}
	if err := f.c.get(ctx, r, &f.trace, cust); err != nil {
		return nil, err
	}
	switch {
	case cust.Object != "customer":
		return nil, r.notJSON(&f.trace, errors.New("body is not a customer"))
	case cust.ID != f.customer:
		return nil, f.notWhole(r.op, fmt.Errorf("asked for customer %s, got %s", clip(f.customer), clip(cust.ID)))
	case !cust.Deleted && snapshot.ModeOf(cust.Livemode) != f.c.mode:
		return nil, f.notWhole(r.op, fmt.Errorf("customer %s is not in mode %s", clip(cust.ID), f.c.mode))
	}
	return cust, nil
}

// confirmGone decides what cause, a list's "no such customer", means. The customer is gone if its
// own endpoint reports it deleted or unknown too.
func (f *fetch) confirmGone(ctx context.Context, cause *Error) (State, error) {
	if cause.Op == OpRetrieveCustomer {
		return State{Deleted: true}, nil
	}
	cust, err := f.retrieve(ctx)
	if e, ok := errors.AsType[*Error](err); ok && e.customerMissing() {
		return State{Deleted: true}, nil
	}
	if err != nil {
		return State{}, err
	}
	if !cust.Deleted {
		cause.Err = ErrNotWhole
		return State{}, cause
	}
	return State{Deleted: true}, nil
}

func (f *fetch) entitlements(ctx context.Context) ([]string, error) {
	params := &stripe.EntitlementsActiveEntitlementListParams{Customer: &f.customer}
	params.Limit = stripe.Int64(pageSize)
	r := f.request(OpListEntitlements, "/v1/entitlements/active_entitlements", params)
	type entitled = *stripe.EntitlementsActiveEntitlement
	active, err := all(ctx, f.pager, r, &params.ListParams, func(a entitled) (string, error) {
		switch {
		case a == nil:
			return "", errNull
		case a.LookupKey == "":
			return "", fmt.Errorf("entitlement %s has no lookup key", clip(a.ID))
		case snapshot.ModeOf(a.Livemode) != f.c.mode:
			return "", fmt.Errorf("entitlement %s is not in mode %s", clip(a.ID), f.c.mode)
		}
		return a.ID, nil
	})
	if err != nil {
		return nil, err
	}
	features := make([]string, 0, len(active))
	for _, a := range active {
		features = append(features, a.LookupKey)
	}
	slices.Sort(features)
	return slices.Compact(features), nil
}
