package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
)

// State is everything read about one customer: whole or not at all.
type State struct {
	// Account and ID are as asked for.
	Account, ID string
	// Mode is the mode of the key, and of every object in Subscriptions.
	Mode entitlement.Mode
	// Deleted says that the customer was deleted or that Stripe does not know it; then nothing below is set.
	Deleted bool
	// Metadata is the customer's.
	Metadata map[string]string
	// Subscriptions are all of them, of every status, each with all its items, in no particular order.
	Subscriptions []*stripe.Subscription
	// Features are the lookup keys of the active entitlements, sorted; nil when they are not read.
	Features []string
}

// Trace says what a read cost, also when it failed.
type Trace struct {
	// Requests counts the HTTP requests sent.
	Requests int
	// RequestIDs are Stripe's names for those that were answered, in order.
	RequestIDs []string
}

func (t *Trace) last() string {
	if len(t.RequestIDs) == 0 {
		return ""
	}
	return t.RequestIDs[len(t.RequestIDs)-1]
}

// pageSize is the most that Stripe gives in one page.
const pageSize = 100

// A fetch is one reading of one customer.
type fetch struct {
	*pager
	customer string
}

// Fetch reads the full current state of a customer, of a connected account or ("") one's own. The caller has a place in
// the budget for the first request; place is called before each further one, and its error ends the fetch.
//
// A customer that is deleted or unknown to Stripe is a state, not an error. The error is an [*Error], or wraps place's.
func (c *Client) Fetch(ctx context.Context, account, customer string, place func(context.Context) error) (State, Trace, error) {
	if customer == "" {
		return State{}, Trace{}, errors.New("fetch: no customer id")
	}
	f := &fetch{pager: &pager{c: c, account: account, place: place}, customer: customer}
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

// subscriptions fills in all but the features.
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
	// Without a subscription nothing tells of the customer; nor does a proxy or a fake that passes over the expansion.
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

// belongs returns the id of a subscription; it refuses one that is not this customer's.
func (f *fetch) belongs(sub *stripe.Subscription) (string, error) {
	id, err := f.c.sound(sub)
	if err == nil && sub.Customer.ID != f.customer {
		err = fmt.Errorf("subscription %s belongs to customer %s, not %s", clip(id), clip(sub.Customer.ID), clip(f.customer))
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
		return nil, &Error{Op: r.op, Account: f.account, Status: http.StatusOK, RequestID: f.trace.last(), NotJSON: true, Err: errors.New("body is no customer")}
	case cust.ID != f.customer:
		return nil, f.notWhole(r.op, fmt.Errorf("asked for customer %s, got %s", clip(f.customer), clip(cust.ID)))
	case !cust.Deleted && entitlement.ModeOf(cust.Livemode) != f.c.mode:
		return nil, f.notWhole(r.op, fmt.Errorf("customer %s is not of mode %s", clip(cust.ID), f.c.mode))
	}
	return cust, nil
}

// confirmGone settles what it means that Stripe misses the customer: that it is gone, if the customer's own endpoint
// says so too.
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
	active, err := all(ctx, f.pager, r, &params.ListParams, func(a *stripe.EntitlementsActiveEntitlement) (string, error) {
		switch {
		case a == nil:
			return "", errNull
		case a.LookupKey == "":
			return "", fmt.Errorf("entitlement %s has no lookup key", clip(a.ID))
		case entitlement.ModeOf(a.Livemode) != f.c.mode:
			return "", fmt.Errorf("entitlement %s is not of mode %s", clip(a.ID), f.c.mode)
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
