package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/reduce"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
)

// A page is one page of a listing, reduced: its customers, each with the subscriptions on the page.
type page struct {
	// AsOf is when the request started.
	AsOf       time.Time `json:"as_of"`
	Requests   int       `json:"requests"`
	RequestIDs []string  `json:"request_ids"`
	// Next is the cursor of the next page, empty on a window's last. Oldest and Newest are when
	// subscriptions on the page were created, in unix seconds.
	Next      string     `json:"next,omitempty"`
	Oldest    int64      `json:"oldest"`
	Newest    int64      `json:"newest"`
	Count     int        `json:"count"`
	Customers []customer `json:"customers"`
}

type customer struct {
	ID            string                     `json:"id"`
	Created       int64                      `json:"created"`
	Deleted       bool                       `json:"deleted,omitempty"`
	Metadata      map[string]string          `json:"metadata,omitempty"`
	Subscriptions []entitlement.Subscription `json:"subscriptions"`
}

// An accountReader lists the subscriptions of an account within the budget. It repeats a request
// that may succeed later.
type accountReader struct {
	*store.Store
	log     *slog.Logger
	account string
	// permit waits for a permit of the Stripe budget.
	permit func(ctx context.Context) error
}

// tries bounds the attempts at one page; the last comes about four minutes after the first.
const tries = 10

func (a *accountReader) Subscriptions(ctx context.Context, q stripeapi.PageQuery) (page, error) {
	var requests int
	for attempt := 1; ; attempt++ {
		if err := a.permit(ctx); err != nil {
			return page{}, fmt.Errorf("list subscriptions: wait for a permit of the Stripe budget: %w", err)
		}
		asOf := time.Now().UTC()
		got, trace, err := a.Stripe.ListSubscriptions(ctx, a.account, q, a.permit)
		requests += trace.Requests
		if err == nil {
			p := reducePage(got, asOf)
			p.Requests, p.RequestIDs = requests, trace.RequestIDs
			return p, nil
		}
		if ctx.Err() != nil || attempt == tries || !a.Retryable(ctx, err) {
			return page{}, err
		}
		pause := min(a.Timing.Backoff(attempt), a.Timing.LongestListing)
		if attempt > 1 {
			// The first failure is not logged: most requests succeed when they are repeated.
			a.log.Warn("Stripe does not list the subscriptions, trying again",
				"attempt", attempt, "of", tries, "in", pause.Round(time.Second), "err", err)
		}
		if err := protocol.Sleep(ctx, pause); err != nil {
			return page{}, err
		}
	}
}

// reducePage groups the subscriptions of a page by customer.
func reducePage(got stripeapi.SubscriptionPage, asOf time.Time) page {
	p := page{AsOf: asOf, Next: got.Next, Count: len(got.Subscriptions)}
	at := make(map[string]int)
	for _, sub := range got.Subscriptions {
		if p.Newest == 0 || sub.Created > p.Newest {
			p.Newest = sub.Created
		}
		if p.Oldest == 0 || sub.Created < p.Oldest {
			p.Oldest = sub.Created
		}
		i, ok := at[sub.Customer.ID]
		if !ok {
			i = len(p.Customers)
			at[sub.Customer.ID] = i
			c := sub.Customer
			p.Customers = append(p.Customers, customer{
				ID: c.ID, Created: c.Created, Deleted: c.Deleted, Metadata: c.Metadata,
			})
		}
		p.Customers[i].Subscriptions = append(p.Customers[i].Subscriptions, reduce.Subscription(sub))
	}
	return p
}

// listingRefused adds the remedy to an answer of Stripe that refuses the listing.
func listingRefused(err error) error {
	e, ok := errors.AsType[*stripeapi.Error](err)
	if ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		return fmt.Errorf("%w: check the key, its permissions and the account", err)
	}
	return err
}
