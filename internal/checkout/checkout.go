package checkout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
)

// DefaultRate is the rate of requests to Stripe, per second.
const DefaultRate = 5

const (
	// within bounds one request of a caller.
	within = 25 * time.Second
	// readWithin bounds a reading of Stripe by a syncer, which answers within 10 s.
	readWithin = 12 * time.Second
)

// Config configures [New].
type Config struct {
	Mode entitlement.Mode
	// Key is a restricted key of the mode, with the permissions to write customers, checkout sessions
	// and portal sessions, and to read prices.
	Key string
	// Base is the URL of Stripe's API. Defaults to Stripe itself.
	Base string
	// Origins are the origins that return URLs may have.
	Origins []string
	// Rate is in requests per second. Defaults to [DefaultRate].
	Rate float64
	// Transport replaces the HTTP transport, for tests.
	Transport http.RoundTripper
}

// An Index finds the customers of your ids without a request to Stripe, and has a customer read from
// Stripe.
type Index interface {
	// Customers returns the ids in Stripe of the customers of your own account that have an id.
	Customers(id string) []string
	// Sync returns a reading of Stripe that begins after the call.
	Sync(ctx context.Context, customer string) (entitlement.Snapshot, error)
	// IDName is the name of the metadata that holds ids.
	IDName() string
}

// A Checkout makes customers and sessions. Use [New].
type Checkout struct {
	mode    entitlement.Mode
	origins map[string]bool
	api     *api
}

// New returns a Checkout. It makes no request.
func New(cfg Config) *Checkout {
	cfg.Base = cmp.Or(cfg.Base, stripe.APIURL)
	cfg.Rate = cmp.Or(cfg.Rate, DefaultRate)
	c := &Checkout{mode: cfg.Mode, origins: map[string]bool{}, api: newAPI(cfg)}
	for _, o := range cfg.Origins {
		c.origins[o] = true
	}
	return c
}

// A Request is the body of a checkout.
type Request struct {
	Price      string `json:"price"`
	LookupKey  string `json:"lookup_key"`
	Quantity   int64  `json:"quantity"`
	SuccessURL string `json:"success_url"`
	CancelURL  string `json:"cancel_url"`
	Email      string `json:"email"`
	TrialDays  int64  `json:"trial_days"`
	// Customer is the id in Stripe of a customer that the id is to be bound to.
	Customer    string `json:"customer"`
	AllowSecond bool   `json:"allow_second"`
}

// A PortalRequest is the body of a portal session.
type PortalRequest struct {
	ReturnURL string `json:"return_url"`
	// Flow is a flow of the portal: payment_method_update, subscription_cancel or
	// subscription_update.
	Flow string `json:"flow"`
}

// An Answer has the URL to which the caller sends its user.
type Answer struct {
	URL      string `json:"url"`
	Session  string `json:"session,omitempty"`
	Customer string `json:"customer,omitempty"`
}

// decode reads a JSON body and refuses unknown fields.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if _, rest := d.Token(); err != nil || rest != io.EOF { // More would not see a closing brace too many
		return badRequest("the body is not the JSON that this route takes")
	}
	return nil
}

// Stripe's limits.
const (
	maxID       = 500 // characters of a metadata value
	maxQuantity = 999_999
	maxTrial    = 730
	maxURL      = 5000
)

func checkID(id string) error {
	switch {
	case !ownID(id):
		return badRequest("checkout takes your own ids only, not Stripe's")
	case utf8.RuneCountInString(id) > maxID:
		return badRequest("the id is longer than a metadata value of Stripe, 500 characters")
	case id != strings.TrimSpace(id):
		return badRequest("the id begins or ends with a blank")
	}
	return nil
}

func (c *Checkout) check(in *Request) error {
	if in.Quantity == 0 {
		in.Quantity = 1
	}
	switch {
	case (in.Price == "") == (in.LookupKey == ""):
		return badRequest("give either price or lookup_key")
	case in.Quantity < 1 || in.Quantity > maxQuantity:
		return badRequest("quantity is from 1 to 999999")
	case in.TrialDays < 0 || in.TrialDays > maxTrial:
		return badRequest("trial_days is from 0 to 730")
	case in.Email != "" && !strings.Contains(in.Email, "@"):
		return badRequest("email is not an e-mail address")
	case in.Customer != "" && !customerID(in.Customer):
		return badRequest("customer is not the id of a customer in Stripe")
	}
	if err := c.checkURL("success_url", in.SuccessURL); err != nil {
		return err
	}
	return c.checkURL("cancel_url", in.CancelURL)
}

// customerID reports whether a text can be the id of a customer. It becomes part of a path of Stripe's API.
func customerID(s string) bool {
	return strings.HasPrefix(s, "cus_") && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// checkURL refuses an URL that leads elsewhere than to the pages of GATEWAY_ORIGINS.
func (c *Checkout) checkURL(name, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || len(text) > maxURL || !c.origins[strings.ToLower(u.Scheme+"://"+u.Host)] {
		return badRequest(name + " is not an URL of one of GATEWAY_ORIGINS")
	}
	return nil
}

// Begin returns a checkout session for an id and the JSON of a [Request]. An open session for the same
// purchase is returned again. Errors are an [Error], or that of [Index].
func (c *Checkout) Begin(ctx context.Context, ix Index, id string, body []byte) (Answer, error) {
	var in Request
	if err := decode(body, &in); err != nil {
		return Answer{}, err
	}
	if err := checkID(id); err != nil {
		return Answer{}, err
	}
	if err := c.check(&in); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if in.Price == "" {
		var err error
		if in.Price, err = c.api.priceOf(ctx, in.LookupKey); err != nil {
			return Answer{}, publish(ctx, err)
		}
	}
	s, err := c.customer(ctx, ix, id, in)
	if err != nil {
		return Answer{}, publish(ctx, err)
	}
	if subscribed(s) && !in.AllowSecond {
		return Answer{}, conflict("already_subscribed",
			"the customer has a subscription; allow_second begins another one")
	}
	session, err := c.session(ctx, s.Customer, in)
	if err != nil {
		return Answer{}, publish(ctx, err)
	}
	return Answer{URL: session.URL, Session: session.ID, Customer: s.Customer}, nil
}

// purchase is the name of a session's metadata with the digest of what is bought, and how.
const purchase = "entitled_checkout"

// session returns the customer's open session for the same purchase, or a new one.
func (c *Checkout) session(ctx context.Context, customer string, in Request) (*stripe.CheckoutSession, error) {
	digest := (*key(in.Price, strconv.FormatInt(in.Quantity, 10), in.SuccessURL, in.CancelURL,
		strconv.FormatInt(in.TrialDays, 10)))[:40]
	var newest []*stripe.CheckoutSession
	err := c.api.read(ctx, func() error {
		p := &stripe.CheckoutSessionListParams{Customer: &customer}
		p.Context, p.Limit, p.Single = ctx, stripe.Int64(100), true
		it := c.api.sessions.List(p)
		newest = it.CheckoutSessionList().Data
		return it.Err()
	})
	if err != nil {
		return nil, err
	}
	last := ""
	for i, s := range newest {
		if i == 0 {
			last = s.ID
		}
		if s.Status == stripe.CheckoutSessionStatusOpen && s.Metadata[purchase] == digest && s.URL != "" {
			return s, nil
		}
	}
	p := &stripe.CheckoutSessionParams{
		Mode: stripe.String(string(stripe.CheckoutSessionModeSubscription)), Customer: &customer,
		LineItems:  []*stripe.CheckoutSessionLineItemParams{{Price: &in.Price, Quantity: &in.Quantity}},
		SuccessURL: &in.SuccessURL, CancelURL: &in.CancelURL,
	}
	p.AddMetadata(purchase, digest)
	if in.TrialDays > 0 {
		p.SubscriptionData = &stripe.CheckoutSessionSubscriptionDataParams{TrialPeriodDays: &in.TrialDays}
	}
	// Two tabs at a time get the same session.
	var made *stripe.CheckoutSession
	err = c.write(ctx, []string{"session", string(c.mode), customer, digest, last}, &p.Params, func() (err error) {
		made, err = c.api.sessions.New(p)
		return err
	})
	return made, err
}

// write repeats a creation under one key, and under others after errors that Stripe has saved. A
// request that failed may have created its object all the same, which does no harm.
func (c *Checkout) write(ctx context.Context, parts []string, p *stripe.Params, request func() error) error {
	for n := 1; ; n++ {
		p.Context, p.IdempotencyKey = ctx, key(append(parts, strconv.Itoa(n))...)
		v, replayed, err := c.api.repeat(ctx, request)
		if v == failed && !replayed {
			v, _, err = c.api.repeat(ctx, request)
		}
		if v != failed || n == maxFailures {
			return err
		}
	}
}

// Portal returns a session of the customer portal for an id and the JSON of a [PortalRequest].
func (c *Checkout) Portal(ctx context.Context, ix Index, id string, body []byte) (Answer, error) {
	var in PortalRequest
	if err := decode(body, &in); err != nil {
		return Answer{}, err
	}
	if err := checkID(id); err != nil {
		return Answer{}, err
	}
	if err := c.checkURL("return_url", in.ReturnURL); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := c.existing(ctx, ix, id)
	if err == nil && s == nil {
		err = errNoCustomer
	}
	if err != nil {
		return Answer{}, publish(ctx, err)
	}
	p := &stripe.BillingPortalSessionParams{Customer: &s.Customer, ReturnURL: &in.ReturnURL}
	if p.FlowData, err = flow(s, in.Flow); err != nil {
		return Answer{}, err
	}
	var made *stripe.BillingPortalSession
	p.Context = ctx
	err = c.api.read(ctx, func() (err error) { // one too many does no harm
		made, err = c.api.portals.New(p)
		return err
	})
	if err != nil {
		return Answer{}, publish(ctx, err)
	}
	return Answer{URL: made.URL}, nil
}

// flow returns a flow of the portal; those that change a subscription need the only one.
func flow(s *entitlement.Snapshot, name string) (*stripe.BillingPortalSessionFlowDataParams, error) {
	f := &stripe.BillingPortalSessionFlowDataParams{Type: &name}
	switch name {
	case "":
		return nil, nil
	case "payment_method_update":
		return f, nil
	case "subscription_cancel", "subscription_update":
	default:
		return nil, badRequest("flow is payment_method_update, subscription_cancel or subscription_update")
	}
	var only *string
	for i := range s.Subscriptions {
		switch sub := &s.Subscriptions[i]; {
		case sub.Status == "canceled", sub.Status == "incomplete_expired", sub.Status == "incomplete":
		case only != nil:
			return nil, conflict("several_subscriptions", "the flow needs the only subscription of the customer")
		default:
			only = &sub.ID
		}
	}
	switch {
	case only == nil:
		return nil, conflict("no_subscription", "the customer has no subscription that the flow could change")
	case name == "subscription_cancel":
		f.SubscriptionCancel = &stripe.BillingPortalSessionFlowDataSubscriptionCancelParams{Subscription: only}
	default:
		f.SubscriptionUpdate = &stripe.BillingPortalSessionFlowDataSubscriptionUpdateParams{Subscription: only}
	}
	return f, nil
}

// Fresh returns a reading of the customer that has an id, found by the index or else by Stripe's search.
func (c *Checkout) Fresh(ctx context.Context, ix Index, id string) ([]entitlement.Snapshot, error) {
	if checkID(id) != nil {
		return nil, errNoCustomer
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := c.existing(ctx, ix, id)
	switch {
	case err != nil:
		return nil, publish(ctx, err)
	case s == nil:
		return nil, errNoCustomer
	}
	return []entitlement.Snapshot{*s}, nil
}

// ModeOf returns the mode of a key of Stripe's API.
func ModeOf(key string) (mode entitlement.Mode, ok bool) {
	for _, kind := range []string{"rk_", "sk_"} {
		for _, m := range []entitlement.Mode{entitlement.Test, entitlement.Live} {
			if rest, found := strings.CutPrefix(key, kind+string(m)+"_"); found && rest != "" {
				return m, !strings.ContainsFunc(rest, func(r rune) bool {
					return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
				})
			}
		}
	}
	return "", false
}
