package stripeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stripe/stripe-go/v76"
)

// PageQuery names one page of a whole account's subscriptions.
type PageQuery struct {
	// CreatedFrom and CreatedBefore bound the creation time, in unix seconds; 0 leaves a side open.
	CreatedFrom, CreatedBefore int64
	// StartingAfter is the Next of the page before, empty for the first.
	StartingAfter string
}

// SubscriptionPage is up to 100 subscriptions, each with its customer expanded and all its items.
type SubscriptionPage struct {
	Subscriptions []*stripe.Subscription
	// Next is the cursor of the page after this one, empty after the last.
	Next string
}

// ListSubscriptions reads one page of all subscriptions of an account, newest first. Stripe leaves out those on test
// clocks. Places and errors are as with [Client.Fetch]; a second request is made only for an item list that was cut.
func (c *Client) ListSubscriptions(ctx context.Context, account string, q PageQuery, place func(context.Context) error) (SubscriptionPage, Trace, error) {
	params := subscriptionParams()
	if q.CreatedFrom != 0 || q.CreatedBefore != 0 {
		params.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: q.CreatedFrom, LesserThan: q.CreatedBefore}
	}
	return c.subscriptionPage(ctx, account, params, q.StartingAfter, place)
}

// ListSubscriptionsByPrice reads one page of the subscriptions that contain a price; see [Client.ListSubscriptions].
func (c *Client) ListSubscriptionsByPrice(ctx context.Context, account, price, startingAfter string, place func(context.Context) error) (SubscriptionPage, Trace, error) {
	if price == "" {
		return SubscriptionPage{}, Trace{}, errors.New("list subscriptions by price: no price id")
	}
	params := subscriptionParams()
	params.Price = &price
	return c.subscriptionPage(ctx, account, params, startingAfter, place)
}

func (c *Client) subscriptionPage(ctx context.Context, account string, params *stripe.SubscriptionListParams, after string, place func(context.Context) error) (SubscriptionPage, Trace, error) {
	p := &pager{c: c, account: account, place: place}
	if after != "" {
		params.StartingAfter = &after
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
	// CreatedFrom and CreatedBefore bound the creation time, in unix seconds; 0 leaves a side open.
	CreatedFrom, CreatedBefore int64
	// StartingAfter is the Next of the page before, empty for the first.
	StartingAfter string
	// Undelivered asks only for events that some endpoint has not taken yet.
	Undelivered bool
}

// EventPage is up to 100 events as Stripe sent them, byte for byte.
type EventPage struct {
	Events []json.RawMessage
	// Next is the cursor of the page after this one, empty after the last.
	Next string
}

// ListEvents reads one page of an account's events of the last 30 days, newest first. The newest may still be missing
// for some seconds: read again with an overlap. The caller has the place of its one request.
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
	if q.Undelivered {
		params.DeliverySuccess = stripe.Bool(false)
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
