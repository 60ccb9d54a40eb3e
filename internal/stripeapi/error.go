package stripeapi

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/stripe/stripe-go/v76"
)

// ErrNotWhole is wrapped by an [Error] whose answers, each fine by itself, do not add up to one whole state: an object
// vanished between two pages, a list that does not move on, an object of another customer or mode. Reading again
// usually helps. Test it before Status.
var ErrNotWhole = errors.New("answers do not make one whole state")

// Error is what a request to Stripe came to when it was not an answer to build on. It holds no key, no body and no
// e-mail address.
type Error struct {
	// Op is the endpoint, one of the Op constants.
	Op string
	// Account is the connected account asked, empty for one's own.
	Account string
	// Status is the HTTP status. 0 means that no answer arrived in full: refused, reset, timed out, cancelled.
	Status int
	// NotJSON says that the body is not Stripe's: HTML, cut short, of another shape; whatever the status.
	NotJSON bool
	// Code, Param and Message are Stripe's, empty if it gave none.
	Code, Param, Message string
	// RequestID is Stripe's name for the request (req_…), to look up in its dashboard.
	RequestID string
	// Reason is Stripe-Rate-Limited-Reason: why a 429.
	Reason string
	// Err is the cause where Stripe gave none, or [ErrNotWhole].
	Err error
}

// Error reads "list subscriptions of acct_1: 429 rate_limit (endpoint-rate): Request rate limit exceeded (req_1)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Account != "" {
		fmt.Fprintf(&b, " of %s", clip(e.Account))
	}
	b.WriteString(":")
	if e.Status != 0 {
		fmt.Fprintf(&b, " %d", e.Status)
	} else {
		b.WriteString(" no answer")
	}
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Param != "" {
		b.WriteString(" on " + e.Param)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + redact(e.Err.Error()))
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (%s)", e.RequestID)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// missing says that Stripe does not know an object that the request named.
func (e *Error) missing() bool { return e.Code == string(stripe.ErrorCodeResourceMissing) }

// customerMissing says that the object is the customer itself, not a cursor or a subscription.
func (e *Error) customerMissing() bool {
	switch {
	case !e.missing():
		return false
	case e.Param == "customer":
		return e.Status == http.StatusNotFound || e.Status == http.StatusBadRequest
	case e.Op == OpRetrieveCustomer, e.Param == "":
		return e.Status == http.StatusNotFound
	}
	return false
}

// vanished turns "no such cursor" and "no such subscription", which can only mean that an object went away since an
// earlier answer named it, into [ErrNotWhole].
func (e *Error) vanished() *Error {
	if e.missing() && !e.customerMissing() {
		e.Err = ErrNotWhole
	}
	return e
}

// maxMessage bounds Stripe's message, in bytes; a bad request's can quote the request.
const maxMessage = 300

var (
	secrets = regexp.MustCompile(`\b(sk|rk|pk|ek|whsec)_[A-Za-z0-9_*]+`)
	emails  = regexp.MustCompile(`[^\s'"<>(),;:]+@[^\s'"<>(),;:]+`)
)

// redact keeps what helps of a text that others wrote: no keys, no e-mail addresses, one line, bounded.
func redact(s string) string {
	// Cut first, so that a huge text costs nothing, and again at the end.
	if len(s) > 4*maxMessage {
		s = s[:4*maxMessage]
	}
	s = strings.ToValidUTF8(s, "")
	s = secrets.ReplaceAllString(s, "${1}_…")
	s = emails.ReplaceAllString(s, "…@…")
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

// maxWord bounds what Stripe sends as one word, in bytes.
const maxWord = 64

// clip keeps the printable ASCII of a word.
func clip(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), maxWord)])
}

// knownReason keeps a metric label bounded.
func knownReason(reason string) string {
	switch reason {
	case "", "global-rate", "global-concurrency", "endpoint-rate", "endpoint-concurrency", "resource-specific":
		return reason
	}
	return "other"
}
