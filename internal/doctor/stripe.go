package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"entitled/internal/stripeapi"
)

const (
	// A signature is refused when its time is more than 5 minutes off the clock of ingest.
	stripeSkewed, stripeWrong = 10 * time.Second, 4 * time.Minute
	// nobody is an id that Stripe does not know: asking for it shows what the key may ask for.
	nobody = "cus_entitledDoctor00"
)

// stripe makes the requests that a sync and the jobs make, one each, outside the fleet's budget.
func stripe(ctx context.Context, cfg Config) []Check {
	mode, err := stripeapi.ModeOf(cfg.Stripe.Key)
	if err != nil {
		return []Check{{Name: "stripe key", State: Fail, Text: err.Error(), Next: "set STRIPE_API_KEY as the syncer has it"}}
	}
	clock := &dateReader{next: http.DefaultTransport, now: cfg.Now}
	use := *cfg.Stripe
	use.Transport, use.Timeout, use.Observe = clock, 2*within, nil
	client, err := stripeapi.New(use)
	if err != nil {
		return []Check{{Name: "stripe key", Mode: mode, State: Fail, Text: err.Error(), Next: "set STRIPE_API_BASE as the syncer has it"}}
	}
	unlimited := func(context.Context) error { return nil }

	page, _, err := client.ListSubscriptions(ctx, "", stripeapi.PageQuery{}, unlimited)
	checks := []Check{asked("may list subscriptions with their customers and payment methods", Fail, err)}
	if e, ok := errors.AsType[*stripeapi.Error](err); ok && (e.Status == 0 || e.Status == http.StatusUnauthorized) {
		// The others would say the same.
		checks[0].Name, checks[0].Mode = "stripe key", mode
		return checks
	}
	customer := nobody
	if len(page.Subscriptions) > 0 && use.Features {
		customer = page.Subscriptions[0].Customer.ID
	}
	if use.Features && customer != nobody {
		_, _, err = client.Fetch(ctx, "", customer, unlimited)
		checks = append(checks, asked("may list active entitlements", Fail, err))
	}
	_, _, err = client.Fetch(ctx, "", nobody, unlimited)
	checks = append(checks, asked("may read a customer", Fail, err))
	_, _, err = client.ListEvents(ctx, "", stripeapi.EventQuery{})
	checks = append(checks, asked("may list events, for `entitled recover`", Warn, err))
	for i := range checks {
		checks[i].Name, checks[i].Mode = "stripe key", mode
	}
	by, seen := clock.offset()
	if !seen {
		return checks
	}
	c := skewed(by, "Stripe's clock", stripeSkewed, stripeWrong)
	c.Name, c.Mode = "clock of Stripe", mode
	if c.State == Fail {
		c.Next = "an ingest with a clock like this one refuses every webhook: turn on time synchronisation (NTP)"
	}
	return append(checks, c)
}

var permission = regexp.MustCompile(`\brak_[a-z_]+\b`)

// asked is the check of one kind of request; denied is its state if the key may not make it.
func asked(what string, denied State, err error) Check {
	c := Check{State: OK, Text: what}
	e, ok := errors.AsType[*stripeapi.Error](err)
	switch {
	case err == nil:
	case !ok:
		c.State, c.Text, c.Next = Fail, err.Error(), "this is a defect of the tool"
	case e.Status == http.StatusUnauthorized:
		c.State, c.Text, c.Next = Fail, "Stripe refuses the key: "+err.Error(), "make a new restricted key on the API keys page of Stripe and give it to the syncers"
	case e.Status == http.StatusForbidden:
		c.State, c.Text, c.Next = denied, err.Error(), "give the key that permission on the API keys page of Stripe"
		if name := permission.FindString(e.Message); name != "" {
			c.Text, c.Next = "lacks "+name+": "+e.Op+" is refused", "give the key "+name+" on the API keys page of Stripe"
		}
	case e.Status == 0:
		c.State, c.Text, c.Next = Fail, "Stripe is out of reach from here: "+err.Error(), "look at the network, a proxy, and STRIPE_API_BASE"
	case e.Status == http.StatusTooManyRequests:
		c.State, c.Text, c.Next = Warn, err.Error(), "other programs use the account's rate limit too: lower STRIPE_RATE, or ask Stripe for more"
	case e.Status >= 500 || e.NotJSON:
		c.State, c.Text, c.Next = Warn, "Stripe does not answer properly: "+err.Error(), "status.stripe.com; the syncers try again by themselves"
	default:
		c.State, c.Text, c.Next = Fail, err.Error(), fmt.Sprintf("the syncers make this request too: report it with its id (%s)", e.RequestID)
	}
	return c
}

// A dateReader compares the header Date of each answer with this machine's clock.
type dateReader struct {
	next http.RoundTripper
	now  func() time.Time

	mu   sync.Mutex
	seen bool
	by   time.Duration // the smallest in size: what delays an answer is not skew
}

func (d *dateReader) RoundTrip(req *http.Request) (*http.Response, error) {
	before := d.now()
	res, err := d.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		// The header's second may have begun up to a second ago.
		by := offset(date, before.Add(-time.Second), d.now())
		d.mu.Lock()
		if !d.seen || by.Abs() < d.by.Abs() {
			d.seen, d.by = true, by
		}
		d.mu.Unlock()
	}
	return res, nil
}

func (d *dateReader) offset() (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by, d.seen
}
