package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/stripeapi"
)

const (
	// Ingest refuses a signature whose time differs by more than 5 minutes from its clock.
	stripeSkewed, stripeWrong = 10 * time.Second, 4 * time.Minute
	// unknown is an id unknown to Stripe: asking for it shows the key's permission.
	unknown = "cus_entitledDoctor00"
)

// stripe makes one of each request that a sync and the jobs make, outside the fleet's budget. reads
// says whether a sync reads active entitlements.
func stripe(ctx context.Context, cfg Config,
	reads func(context.Context, Config, entitlement.Mode) plans.Reading) []Check {
	mode, err := stripeapi.ModeOf(cfg.Stripe.Key)
	if err != nil {
		return []Check{
			{Name: "stripe key", State: Fail, Text: err.Error(), Next: "set STRIPE_API_KEY as the syncer has it"},
		}
	}
	clock := &dateReader{next: http.DefaultTransport, now: cfg.Now}
	use := *cfg.Stripe
	use.Transport, use.Timeout, use.Observe = clock, 2*within, nil
	client, err := stripeapi.New(use)
	if err != nil {
		return []Check{
			{Name: "stripe key", Mode: mode, State: Fail, Text: err.Error(),
				Next: "set STRIPE_API_BASE as the syncer has it"},
		}
	}
	unlimited := func(context.Context) error { return nil }

	page, _, err := client.ListSubscriptions(ctx, "", stripeapi.PageQuery{}, unlimited)
	checks := []Check{asked("may list subscriptions with their customers and payment methods", Fail, err)}
	if e, ok := errors.AsType[*stripeapi.Error](err); ok && (e.Status == 0 || e.Status == http.StatusUnauthorized) {
		// Other requests would get the same answer.
		checks[0].Name, checks[0].Mode = "stripe key", mode
		return checks
	}
	customer := ""
	if len(page.Subscriptions) > 0 {
		customer = page.Subscriptions[0].Customer.ID
	}
	checks = append(checks, entitlements(ctx, client, reads(ctx, cfg, mode), customer)...)
	_, _, err = client.Fetch(ctx, "", unknown, unlimited)
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
		c.Next = "with this clock, ingest would refuse every webhook: enable time synchronization (NTP)"
	}
	return append(checks, c)
}

// entitlements makes the requests for active entitlements, if a sync makes them; customer is one of
// Stripe's customers, "" if there is none.
func entitlements(ctx context.Context, client *stripeapi.Client, reading plans.Reading, customer string) []Check {
	var checks []Check
	if reading == plans.ReadIfAny {
		some, _, err := client.HasFeature(ctx, "")
		c := asked("may list features", Warn, err)
		switch {
		case stripeapi.Refused(err):
			c.Text += ": active entitlements are not read"
			c.Next += ", if customers have some; else the line `stripe_entitlements: false` in a plans document ends this"
		case err == nil && !some:
			c.Text += ": there is none, so active entitlements are not read"
		}
		checks = append(checks, c)
		if !some {
			return checks
		}
	}
	if reading == plans.ReadNever || customer == "" {
		return checks
	}
	unlimited := func(context.Context) error { return nil }
	_, _, err := client.Entitlements(true).Fetch(ctx, "", customer, unlimited)
	return append(checks, asked("may list active entitlements", Fail, err))
}

// readingOf says whether a sync reads active entitlements, as far as the plans document in force
// says. One that cannot be read is a finding of another check.
func readingOf(ctx context.Context, cfg Config, mode entitlement.Mode) plans.Reading {
	var doc *plans.Document
	if js, err := jetstream.New(cfg.NATS); err == nil {
		if b, err := applied.Open(ctx, js, mode); err == nil {
			if f, err := b.InForce(ctx); err == nil {
				doc = f.Document
			}
		}
	}
	return doc.Entitlements("")
}

var permission = regexp.MustCompile(`\brak_[a-z_]+\b`)

// asked returns the check of one kind of request; denied is its state if the key lacks the
// permission.
func asked(what string, denied State, err error) Check {
	c := Check{State: OK, Text: what}
	e, ok := errors.AsType[*stripeapi.Error](err)
	switch {
	case err == nil:
	case !ok:
		c.State, c.Text, c.Next = Fail, err.Error(), "this is a bug in this command"
	case e.Status == http.StatusUnauthorized:
		c.State, c.Text, c.Next = Fail, "Stripe refuses the key: "+err.Error(),
			"create a new restricted key on the API keys page of Stripe and give it to the syncers"
	case e.Status == http.StatusForbidden:
		c.State, c.Text, c.Next = denied, err.Error(), "give the key that permission on the API keys page of Stripe"
		if name := permission.FindString(e.Message); name != "" {
			c.Text, c.Next = "lacks "+name+": "+e.Op+" is refused",
				"give the key "+name+" on the API keys page of Stripe"
		}
	case e.Status == 0:
		c.State, c.Text, c.Next = Fail, "cannot reach Stripe from here: "+err.Error(),
			"check the network, the proxy and STRIPE_API_BASE"
	case e.Status == http.StatusTooManyRequests:
		c.State, c.Text, c.Next = Warn,
			err.Error(), "other programs use the account's rate limit too: lower STRIPE_RATE, or ask Stripe for more"
	case e.Status >= 500 || e.NotJSON:
		c.State, c.Text, c.Next = Warn, "Stripe's answer is not valid: "+err.Error(),
			"see status.stripe.com; the syncers retry by themselves"
	default:
		c.State, c.Text, c.Next = Fail,
			err.Error(), fmt.Sprintf("the syncers make this request too: report it with its id (%s)", e.RequestID)
	}
	return c
}

// A dateReader compares the Date header of each answer with this machine's clock.
type dateReader struct {
	next http.RoundTripper
	now  func() time.Time

	mu   sync.Mutex
	seen bool
	by   time.Duration // the smallest in magnitude: a slow answer is not skew
}

func (d *dateReader) RoundTrip(req *http.Request) (*http.Response, error) {
	before := d.now()
	res, err := d.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		// The header's second may have begun up to a second earlier.
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
