package stripeapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/form"

	"entitled/entitlement/snapshot"
)

// Defaults of [Config].
const (
	DefaultBase    = "https://api.stripe.com"
	DefaultTimeout = 20 * time.Second
)

// maxAnswer bounds the bytes read of one answer. A page of 100 subscriptions with 20 items each is
// about 10 MB.
const maxAnswer = 64 << 20

// Config configures a [Client].
type Config struct {
	// Key is a secret or restricted key (sk_…, rk_…). It decides the client's mode.
	Key string
	// Base is the URL of the API. Defaults to [DefaultBase].
	Base string
	// Timeout bounds one request, up to the last byte of its answer. Defaults to [DefaultTimeout].
	Timeout time.Duration
	// Observe, if not nil, is called after every HTTP request, from the goroutine that made it,
	// with the context of the read.
	Observe func(context.Context, Observation)
	// Transport replaces the client's own HTTP transport, for tests.
	Transport http.RoundTripper

	maxAnswer int64
}

// An Observation describes one HTTP request. Endpoint and Reason have few possible values, so they
// can be metric labels; RequestID cannot.
type Observation struct {
	// Endpoint is one of the Op constants.
	Endpoint string
	// Status is the HTTP status; 0 means no answer.
	Status   int
	Duration time.Duration
	// Reason is Stripe's reason for a 429 (global-rate, endpoint-concurrency, …), "other" for an
	// unknown reason, or empty.
	Reason string
	// RequestID is Stripe's id of the request; empty if there was no answer.
	RequestID string
}

// Names of Stripe's endpoints in errors and observations.
const (
	OpListSubscriptions = "list subscriptions"
	OpListItems         = "list subscription items"
	OpRetrieveCustomer  = "retrieve customer"
	OpListEntitlements  = "list active entitlements"
	OpListFeatures      = "list features"
	OpListEvents        = "list events"
)

// A Client reads one Stripe account, and the accounts connected to it. It is safe for concurrent
// use.
type Client struct {
	key       string
	mode      snapshot.Mode
	features  bool
	timeout   time.Duration
	observe   func(context.Context, Observation)
	backend   stripe.Backend
	transport http.RoundTripper
}

// ModeOf returns the mode of a Stripe key. Its error does not contain the key.
func ModeOf(key string) (snapshot.Mode, error) {
	for _, kind := range []string{"sk_", "rk_"} {
		for _, mode := range []snapshot.Mode{snapshot.Test, snapshot.Live} {
			rest, ok := strings.CutPrefix(key, kind+string(mode)+"_")
			if ok && rest != "" && strings.Trim(rest, keyAlphabet) == "" {
				return mode, nil
			}
		}
	}
	const restricted = "a restricted key (rk_live_…, rk_test_…)"
	switch {
	case key == "":
		return "", errors.New("key for Stripe: empty; hint: set STRIPE_API_KEY to " + restricted)
	case strings.HasPrefix(key, "pk_"):
		return "", errors.New("key for Stripe: a publishable key (pk_…) cannot read subscriptions; " +
			"hint: use " + restricted)
	case strings.HasPrefix(key, "whsec_"):
		return "", errors.New("key for Stripe: this is a webhook signing secret (whsec_…); " +
			"hint: it belongs to STRIPE_WEBHOOK_SECRETS, use " + restricted)
	}
	return "", errors.New("key for Stripe: neither sk_test_…, rk_test_…, sk_live_… nor rk_live_… " +
		"followed by letters, digits and _; hint: check for blanks, quotes or a line break around it")
}

const keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

// New returns a client, or an error if the configuration is invalid. It makes no request.
func New(cfg Config) (*Client, error) {
	mode, err := ModeOf(cfg.Key)
	if err != nil {
		return nil, err
	}
	base := cmp.Or(cfg.Base, DefaultBase)
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("base URL of Stripe: not http(s)://host[:port][/path]; " +
			"hint: leave STRIPE_API_BASE unset for Stripe itself")
	}
	c := &Client{
		key:       cfg.Key,
		mode:      mode,
		timeout:   cmp.Or(cfg.Timeout, DefaultTimeout),
		observe:   cfg.Observe,
		transport: cfg.Transport,
	}
	if c.observe == nil {
		c.observe = func(context.Context, Observation) {}
	}
	if c.transport == nil {
		c.transport = newTransport()
	}
	c.backend = stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(base),
		HTTPClient: &http.Client{
			Transport: recorder{next: c.transport, limit: cmp.Or(cfg.maxAnswer, maxAnswer)},
			// Following a redirect would send the key to another host. Stripe's API does not
			// redirect.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// stripe-go's retries sleep without watching the context. The caller retries.
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
		// stripe-go's logger would print bodies.
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return c, nil
}

// Mode returns the mode of the client's key.
func (c *Client) Mode() snapshot.Mode { return c.mode }

// Entitlements returns a client whose Fetch reads the customer's active entitlements too, with one
// more request, or does not. It shares the connections of c.
func (c *Client) Entitlements(read bool) *Client {
	other := *c
	other.features = read
	return &other
}

// Close closes idle connections.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// A request is one GET of Stripe's API.
type request struct {
	op      string
	account string
	path    string
	params  any // a stripe-go params struct, encoded by its form tags
}

// get makes one request and decodes its answer into v. A non-nil error is an *Error.
func (c *Client) get(ctx context.Context, r request, tr *Trace, v stripe.LastResponseSetter) error {
	timedOut := fmt.Errorf("within %v: %w", c.timeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, timedOut)
	defer cancel()
	x := &exchange{}
	params := &stripe.Params{Context: context.WithValue(ctx, exchangeKey{}, x)}
	if r.account != "" {
		params.StripeAccount = &r.account
	}
	var query *form.Values
	if r.params != nil {
		query = &form.Values{}
		form.AppendTo(query, r.params)
	}
	start := time.Now()
	err := c.backend.CallRaw(http.MethodGet, r.path, c.key, query, params, v)
	if x.sent {
		tr.Requests++
		c.observe(ctx, Observation{
			Endpoint: r.op, Status: x.status, Duration: time.Since(start),
			Reason: knownReason(x.reason), RequestID: x.requestID,
		})
	}
	if x.requestID != "" {
		tr.RequestIDs = append(tr.RequestIDs, x.requestID)
	}
	if err == nil && x.status == http.StatusOK {
		return nil
	}
	return x.failure(ctx, r, err)
}

// An exchange holds the facts of one HTTP exchange, however stripe-go interprets it.
type exchange struct {
	sent      bool
	status    int
	requestID string
	reason    string
	bodyErr   error
}

type exchangeKey struct{}

// failure describes why a request has no usable answer.
func (x *exchange) failure(ctx context.Context, r request, err error) *Error {
	e := &Error{Op: r.op, Account: r.account, Status: x.status, RequestID: x.requestID, Reason: x.reason}
	var se *stripe.Error
	switch {
	case ctx.Err() != nil && !errors.As(err, &se):
		// Headers that came in time do not count: an answer that cannot be read to its end is none.
		e.Status, e.Err = 0, context.Cause(ctx)
		if !errors.Is(e.Err, ctx.Err()) {
			e.Err = fmt.Errorf("%w: %w", ctx.Err(), e.Err)
		}
	case errors.As(err, &se):
		e.Code, e.Param, e.Message = clip(string(se.Code)), clip(se.Param), redact(se.Msg)
	case x.status == 0:
		// Drop the URL that net/http puts in front.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		e.Err = err
	case x.bodyErr != nil:
		e.NotJSON, e.Err = true, fmt.Errorf("body: %w", x.bodyErr)
	default:
		// stripe-go's own error quotes the body.
		e.NotJSON, e.Err = true, errors.New("body is not an answer of Stripe's API")
	}
	return e
}

// A recorder fills in the exchange of each request: stripe-go does not return all of these facts in
// every case.
type recorder struct {
	next  http.RoundTripper
	limit int64 // bytes of one body
}

func (rt recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return rt.next.RoundTrip(req)
	}
	x.sent = true
	res, err := rt.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	x.status = res.StatusCode
	x.requestID = clip(res.Header.Get("Request-Id"))
	x.reason = clip(res.Header.Get("Stripe-Rate-Limited-Reason"))
	res.Body = &body{ReadCloser: res.Body, limit: rt.limit, x: x}
	return res, nil
}

// A body fails beyond its limit and records the error that ended a read early.
type body struct {
	io.ReadCloser
	limit, read int64
	x           *exchange
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.read += int64(n); b.read > b.limit {
		err = fmt.Errorf("longer than %d bytes", b.limit)
	}
	if err != nil && err != io.EOF {
		b.x.bodyErr = err
	}
	return n, err
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		// The default keeps 2 idle connections per host and would open one per request under load.
		// A syncer makes up to 256 requests at once.
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without pings, every request on a dead HTTP/2 connection would wait for its timeout.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
	}
}
