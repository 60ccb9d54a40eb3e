package checkout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76"
	portalsession "github.com/stripe/stripe-go/v76/billingportal/session"
	checkoutsession "github.com/stripe/stripe-go/v76/checkout/session"
	"github.com/stripe/stripe-go/v76/customer"
	"github.com/stripe/stripe-go/v76/price"
	"golang.org/x/time/rate"
)

// Every request to Stripe is made here.

// oneRequest bounds one request to Stripe, up to the last byte of its answer.
const oneRequest = 15 * time.Second

type api struct {
	customers customer.Client
	sessions  checkoutsession.Client
	portals   portalsession.Client
	prices    price.Client
	limiter   *rate.Limiter
}

func newAPI(cfg Config) *api {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(cfg.Base),
		HTTPClient: &http.Client{
			Timeout:   oneRequest,
			Transport: cfg.Transport,
			// Following a redirect would send the key to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// stripe-go's retries know neither the context nor this package's keys.
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
		// stripe-go's logger would print bodies.
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return &api{
		customers: customer.Client{B: backend, Key: cfg.Key}, sessions: checkoutsession.Client{B: backend, Key: cfg.Key},
		portals: portalsession.Client{B: backend, Key: cfg.Key}, prices: price.Client{B: backend, Key: cfg.Key},
		limiter: rate.NewLimiter(rate.Limit(cfg.Rate), max(int(cfg.Rate), 1)),
	}
}

// wait waits until another request to Stripe may be made.
func (a *api) wait(ctx context.Context) error {
	if err := a.limiter.Wait(ctx); err != nil {
		return errBusy
	}
	return nil
}

// The pauses between repeats of a request grow from firstPause to longestPause.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// repeat makes a request until it is done, refused, or failed: without an answer, or with one that
// says later, it makes the same request again. It returns the last error, and whether that was a saved
// answer.
func (a *api) repeat(ctx context.Context, request func() error) (v verdict, replayed bool, err error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if err = a.wait(ctx); err != nil {
			return later, false, err
		}
		err = request()
		if v, replayed = judge(err); v != unknown && v != later {
			return v, replayed, err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return v, false, errUnsettled
		case <-t.C:
		}
	}
}

// read is repeat for a request that changes nothing: a failed one is repeated too, a few times.
func (a *api) read(ctx context.Context, request func() error) error {
	const times = 3
	for n := 1; ; n++ {
		v, _, err := a.repeat(ctx, request)
		if v != failed || n == times {
			return err
		}
	}
}

// key returns an Idempotency-Key that depends on its parts alone, and does not reveal them.
func key(parts ...string) *string {
	h := sha256.New()
	for _, p := range parts {
		sum := sha256.Sum256([]byte(p))
		h.Write(sum[:])
	}
	return stripe.String("entitled-" + hex.EncodeToString(h.Sum(nil)))
}

// get returns a customer, or nil if Stripe has none or has deleted it.
func (a *api) get(ctx context.Context, id string) (c *stripe.Customer, err error) {
	err = a.read(ctx, func() (err error) {
		p := &stripe.CustomerParams{}
		p.Context = ctx
		c, err = a.customers.Get(id, p)
		return err
	})
	if missing(err) || err == nil && c.Deleted {
		return nil, nil
	}
	return c, err
}

// query returns the search for customers with a value of metadata.
func query(name, value string) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	return "metadata['" + escape.Replace(name) + "']:'" + escape.Replace(value) + "'"
}

// search returns the ids of the customers that Stripe's search finds and whose metadata equals the
// value byte for byte. They may be deleted by now.
func (a *api) search(ctx context.Context, name, value string) (ids []string, err error) {
	page := ""
	for {
		var found *stripe.CustomerSearchResult
		err := a.read(ctx, func() error {
			p := &stripe.CustomerSearchParams{}
			p.Context, p.Query, p.Limit, p.Single = ctx, query(name, value), stripe.Int64(100), true
			if page != "" {
				p.Page = &page
			}
			it := a.customers.Search(p)
			found, _ = it.SearchResult().(*stripe.CustomerSearchResult)
			return it.Err()
		})
		if err != nil {
			return nil, err
		}
		for _, c := range found.Data {
			if c.Metadata[name] == value {
				ids = append(ids, c.ID)
			}
		}
		if !found.HasMore || found.NextPage == nil {
			return ids, nil
		}
		page = *found.NextPage
	}
}

// searchLag is how far Stripe's search may be behind.
const searchLag = 3600 // seconds

// recent lists the customers that were created within the hour before the newest one, since the search
// may not know them yet. It returns the smallest id of those with the value of metadata; "" for none.
func (a *api) recent(ctx context.Context, name, value string) (id string, err error) {
	after, oldest := "", int64(0)
	for {
		var page *stripe.CustomerList
		err := a.read(ctx, func() error {
			p := &stripe.CustomerListParams{}
			p.Context, p.Limit, p.Single = ctx, stripe.Int64(100), true
			if after != "" {
				p.StartingAfter = &after
			}
			it := a.customers.List(p)
			page = it.CustomerList()
			return it.Err()
		})
		if err != nil {
			return "", err
		}
		for _, c := range page.Data {
			if oldest == 0 {
				oldest = c.Created - searchLag
			}
			if after = c.ID; c.Created < oldest {
				return id, nil
			}
			if c.Metadata[name] == value && (id == "" || c.ID < id) {
				id = c.ID
			}
		}
		if !page.HasMore || len(page.Data) == 0 {
			return id, nil
		}
	}
}

// change updates a customer. To do so twice is to do so once.
func (a *api) change(ctx context.Context, id string, p *stripe.CustomerParams) error {
	p.Context = ctx
	return a.read(ctx, func() error {
		_, err := a.customers.Update(id, p)
		return err
	})
}

// priceOf returns the active price with a lookup key.
func (a *api) priceOf(ctx context.Context, lookupKey string) (id string, err error) {
	err = a.read(ctx, func() error {
		p := &stripe.PriceListParams{LookupKeys: []*string{&lookupKey}, Active: stripe.Bool(true)}
		p.Context, p.Limit, p.Single = ctx, stripe.Int64(1), true
		it := a.prices.List(p)
		if it.Next() {
			id = it.Price().ID
		}
		return it.Err()
	})
	if err == nil && id == "" {
		err = &Error{Status: http.StatusUnprocessableEntity, Code: "no_price",
			Message: "no active price has this lookup_key"}
	}
	return id, err
}
