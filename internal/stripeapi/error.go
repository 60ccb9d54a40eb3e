package stripeapi

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/stripe/stripe-go/v76"
)

// ErrNotWhole is wrapped by an [Error] if the answers are valid one by one but do not make one
// complete state: an object vanished between two pages, a cursor does not advance, or an object
// belongs to another customer or mode. Another read usually succeeds. Test for ErrNotWhole before
// Status.
var ErrNotWhole = errors.New("answers do not make one whole state")

// Error describes a request to Stripe without a usable answer. It contains no key, no body and no
// e-mail address.
type Error struct {
	// Op is the endpoint, one of the Op constants.
	Op string
	// Account is the connected account; empty for the account of the key.
	Account string
	// Status is the HTTP status. 0 means that no complete answer arrived: the connection was
	// refused or reset, or the request timed out or was cancelled.
	Status int
	// NotJSON reports that the body is not an answer of Stripe's API, whatever the status: HTML,
	// truncated JSON, or JSON of another shape.
	NotJSON bool
	// Code, Param and Message are Stripe's, each empty if Stripe sent none.
	Code, Param, Message string
	// RequestID is Stripe's id of the request (req_…), for a search in Stripe's dashboard.
	RequestID string
	// Reason is the header Stripe-Rate-Limited-Reason of a 429.
	Reason string
	// Err is the cause if Stripe sent no error, or wraps [ErrNotWhole].
	Err error
}

// Error returns text such as "list subscriptions of acct_1: 429 rate_limit (endpoint-rate): Request
// rate limit exceeded (req_1)".
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

// IsCursorMissing reports whether err is Stripe's answer that the object after which a page should
// start does not exist.
func IsCursorMissing(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.missing() && e.Param == "starting_after"
}

// missing reports whether Stripe does not know an object that the request named.
func (e *Error) missing() bool { return e.Code == string(stripe.ErrorCodeResourceMissing) }

// customerMissing reports whether the missing object is the customer, not a cursor or a
// subscription.
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

// vanished turns "no such cursor" and "no such subscription" into [ErrNotWhole]: an earlier answer
// named the object, so it has been deleted since.
func (e *Error) vanished() *Error {
	if e.missing() && !e.customerMissing() {
		e.Err = ErrNotWhole
	}
	return e
}

// maxMessage bounds Stripe's message, in bytes. Stripe may quote the request in it.
const maxMessage = 300

var (
	secrets = regexp.MustCompile(`\b(sk|rk|pk|ek|whsec)_[A-Za-z0-9_*]+`)
	emails  = regexp.MustCompile(`[^\s'"<>(),;:]+@[^\s'"<>(),;:]+`)
)

// redact returns an error text without keys and e-mail addresses, on one line and bounded.
func redact(s string) string {
	// Cut before the searches too, so that a huge text costs little.
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

// maxWord bounds a code, parameter, id or header value from Stripe, in bytes.
const maxWord = 64

// clip returns the printable ASCII characters of the first maxWord bytes.
func clip(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), maxWord)])
}

// knownReason limits a metric label to a fixed set of values.
func knownReason(reason string) string {
	switch reason {
	case "", "global-rate", "global-concurrency", "endpoint-rate", "endpoint-concurrency", "resource-specific":
		return reason
	}
	return "other"
}
