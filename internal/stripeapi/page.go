package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement/snapshot"
)

// A list is one page of any of Stripe's lists.
type list[T any] struct {
	stripe.APIResource
	Object  string `json:"object"`
	HasMore *bool  `json:"has_more"`
	Data    []T    `json:"data"`
}

// page reads one page. It checks that the answer is a list: other JSON would decode to an empty
// page, which means that the customer has nothing.
func page[T any](ctx context.Context, c *Client, r request, tr *Trace) (data []T, more bool, err error) {
	var l list[T]
	if err := c.get(ctx, r, tr, &l); err != nil {
		return nil, false, err
	}
	if l.Object != "list" || l.HasMore == nil || l.Data == nil {
		return nil, false, r.notJSON(tr, errors.New("body is not a list"))
	}
	return l.Data, *l.HasMore, nil
}

// A pager makes the requests of one read, each with its permit.
type pager struct {
	c       *Client
	account string
	permit  func(context.Context) error // not called for the first request
	started bool                        // the permit that the caller holds is used
	trace   Trace
}

func (p *pager) request(op, path string, params any) request {
	return request{op: op, account: p.account, path: path, params: params}
}

// next takes the permit of the next request.
func (p *pager) next(ctx context.Context, r request) error {
	if !p.started {
		p.started = true
		return nil
	}
	if err := p.permit(ctx); err != nil {
		return fmt.Errorf("%s: permit of the Stripe budget: %w", r.op, err)
	}
	return nil
}

var errNull = errors.New("null in a list")

func (p *pager) notWhole(op string, err error) *Error {
	return &Error{
		Op: op, Account: p.account, Status: http.StatusOK, RequestID: p.trace.last(),
		Err: fmt.Errorf("%w: %w", ErrNotWhole, err),
	}
}

// notJSON is the error for an answer with status 200 that is JSON of another shape.
func (r request) notJSON(tr *Trace, err error) *Error {
	return &Error{
		Op: r.op, Account: r.account, Status: http.StatusOK, RequestID: tr.last(), NotJSON: true, Err: err,
	}
}

// one reads one page and checks each object; lp are the list parameters within r.params. check
// returns the id of an object, or an error if the object does not belong in the list.
func one[T any](
	ctx context.Context, p *pager, r request, lp *stripe.ListParams, check func(T) (string, error),
) (data []T, ids []string, more bool, err error) {
	if err := p.next(ctx, r); err != nil {
		return nil, nil, false, err
	}
	data, more, err = page[T](ctx, p.c, r, &p.trace)
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, nil, false, e.vanished()
	}
	for _, v := range data {
		id, err := check(v)
		if err == nil && id == "" {
			err = errors.New("an object has no id")
		}
		if err != nil {
			return nil, nil, false, p.notWhole(r.op, err)
		}
		ids = append(ids, id)
	}
	switch {
	case more && len(ids) == 0:
		err = errors.New("has_more with an empty page")
	case len(ids) > 0 && lp.StartingAfter != nil && ids[len(ids)-1] == *lp.StartingAfter:
		err = errors.New("the cursor does not advance")
	default:
		return data, ids, more, nil
	}
	return nil, nil, false, p.notWhole(r.op, err)
}

// all reads every page of a list; on an error it returns no part of the list. It sets
// lp.StartingAfter.
func all[T any](
	ctx context.Context, p *pager, r request, lp *stripe.ListParams, check func(T) (string, error),
) ([]T, error) {
	var whole []T
	seen := map[string]bool{}
	for {
		data, ids, more, err := one(ctx, p, r, lp, check)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if seen[id] {
				return nil, p.notWhole(r.op, fmt.Errorf("%s is listed twice", clip(id)))
			}
			seen[id] = true
		}
		whole = append(whole, data...)
		if !more {
			return whole, nil
		}
		lp.StartingAfter = stripe.String(ids[len(ids)-1])
	}
}

// subscriptionParams returns the parameters of every list of subscriptions: full pages, every
// status, and the expansions that a snapshot needs. Stripe refuses to expand more than 4 levels.
func subscriptionParams() *stripe.SubscriptionListParams {
	params := &stripe.SubscriptionListParams{Status: stripe.String("all")}
	params.Limit = stripe.Int64(pageSize)
	params.AddExpand("data.default_payment_method")
	params.AddExpand("data.customer")
	return params
}

// sound returns the id of a subscription, or an error if the subscription lacks something that a
// snapshot needs.
func (c *Client) sound(sub *stripe.Subscription) (string, error) {
	switch {
	case sub == nil || sub.ID == "" || sub.Object != "subscription":
		return "", errors.New("an object is not a subscription")
	case snapshot.ModeOf(sub.Livemode) != c.mode:
		return "", fmt.Errorf("subscription %s is not in mode %s", clip(sub.ID), c.mode)
	case sub.Customer == nil || sub.Customer.ID == "":
		return "", fmt.Errorf("subscription %s has no customer", clip(sub.ID))
	case sub.Items == nil || sub.Items.Data == nil:
		return "", fmt.Errorf("subscription %s has no list of items", clip(sub.ID))
	}
	seen := make(map[string]bool, len(sub.Items.Data))
	for _, item := range sub.Items.Data {
		switch {
		case item == nil:
			return "", fmt.Errorf("items of subscription %s: %w", clip(sub.ID), errNull)
		case item.ID == "" || seen[item.ID]:
			return "", fmt.Errorf("items of subscription %s: one has no id, or an id is listed twice", clip(sub.ID))
		}
		seen[item.ID] = true
	}
	return sub.ID, nil
}

// expanded reports whether the subscription has the customer itself, not only its id.
func expanded(sub *stripe.Subscription) bool { return sub.Customer.Object == "customer" }

// items completes the items of each subscription of which Stripe returned only part. It reads the
// items from the first one: Stripe does not promise that the list has the order of the inline
// items.
func (p *pager) items(ctx context.Context, subs []*stripe.Subscription) error {
	for _, sub := range subs {
		if !sub.Items.HasMore {
			continue
		}
		params := &stripe.SubscriptionItemListParams{Subscription: &sub.ID}
		params.Limit = stripe.Int64(pageSize)
		r := p.request(OpListItems, "/v1/subscription_items", params)
		items, err := all(ctx, p, r, &params.ListParams, func(item *stripe.SubscriptionItem) (string, error) {
			if item == nil {
				return "", errNull
			}
			if item.Subscription != "" && item.Subscription != sub.ID {
				return "", fmt.Errorf("item %s belongs to subscription %s, not %s",
					clip(item.ID), clip(item.Subscription), clip(sub.ID))
			}
			return item.ID, nil
		})
		if err != nil {
			return err
		}
		if len(items) < len(sub.Items.Data) {
			return p.notWhole(r.op, fmt.Errorf("subscription %s has more items than are listed", clip(sub.ID)))
		}
		sub.Items.Data, sub.Items.HasMore = items, false
	}
	return nil
}
