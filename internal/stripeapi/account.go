package stripeapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/stripe/stripe-go/v76"
)

// PageQuery names one page of a whole account's subscriptions.
type PageQuery struct {
	// CreatedFrom (inclusive) and CreatedBefore (exclusive) bound the creation time, in unix
	// seconds. 0 means no bound.
	CreatedFrom, CreatedBefore int64
	// StartingAfter is the Next of the previous page; empty asks for the first page.
	StartingAfter string
}

// SubscriptionPage is up to 100 subscriptions, each with its customer expanded and all its items.
type SubscriptionPage struct {
	Subscriptions []*stripe.Subscription
	// Next is the cursor of the following page; empty on the last page.
	Next string
}

// ListSubscriptions reads one page of all subscriptions of an account, newest first. Stripe leaves
// out subscriptions on test clocks. Permits and errors are as with [Client.Fetch]. More requests
// follow the first only if Stripe returned part of a subscription's items.
func (c *Client) ListSubscriptions(
	ctx context.Context, account string, q PageQuery, permit func(context.Context) error,
) (SubscriptionPage, Trace, error) {
	params := subscriptionParams()
	if q.CreatedFrom != 0 || q.CreatedBefore != 0 {
		params.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: q.CreatedFrom, LesserThan: q.CreatedBefore}
	}
	p := &pager{c: c, account: account, permit: permit}
	if q.StartingAfter != "" {
		params.StartingAfter = &q.StartingAfter
	}
	r := p.request(OpListSubscriptions, "/v1/subscriptions", params)
	subs, ids, more, err := one(ctx, p, r, &params.ListParams, func(sub *stripe.Subscription) (string, error) {
		id, err := c.sound(sub)
		if err == nil && !expanded(sub) {
			err = fmt.Errorf("subscription %s: its customer is not expanded", clip(id))
		}
		return id, err
	})
	if err == nil {
		err = p.items(ctx, subs)
	}
	if err != nil {
		return SubscriptionPage{}, p.trace, err
	}
	pg := SubscriptionPage{Subscriptions: subs}
	if more {
		pg.Next = ids[len(ids)-1]
	}
	return pg, p.trace, nil
}

// EventQuery names one page of an account's events.
type EventQuery struct {
	// CreatedFrom (inclusive) and CreatedBefore (exclusive) bound the creation time, in unix
	// seconds. 0 means no bound.
	CreatedFrom, CreatedBefore int64
	// StartingAfter is the Next of the previous page; empty asks for the first page.
	StartingAfter string
}

// EventPage is up to 100 events as Stripe sent them, byte for byte.
type EventPage struct {
	Events []json.RawMessage
	// Next is the cursor of the following page; empty on the last page.
	Next string
}

// ListEvents reads one page of an account's events of the last 30 days, newest first. Stripe may
// list an event some seconds late, so the time ranges of successive reads must overlap. It makes
// one request, and the caller already holds its permit.
func (c *Client) ListEvents(ctx context.Context, account string, q EventQuery) (EventPage, Trace, error) {
	p := &pager{c: c, account: account}
	params := &stripe.EventListParams{}
	params.Limit = stripe.Int64(pageSize)
	if q.CreatedFrom != 0 || q.CreatedBefore != 0 {
		params.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: q.CreatedFrom, LesserThan: q.CreatedBefore}
	}
	if q.StartingAfter != "" {
		params.StartingAfter = &q.StartingAfter
	}
	r := p.request(OpListEvents, "/v1/events", params)
	events, ids, more, err := one(ctx, p, r, &params.ListParams, func(raw json.RawMessage) (string, error) {
		var event struct {
			ID string `json:"id"`
		}
		err := json.Unmarshal(raw, &event)
		return event.ID, err
	})
	if err != nil {
		return EventPage{}, p.trace, err
	}
	pg := EventPage{Events: events}
	if more {
		pg.Next = ids[len(ids)-1]
	}
	return pg, p.trace, nil
}
