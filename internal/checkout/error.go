package checkout

import (
	"context"
	"errors"
	"net/http"

	"github.com/stripe/stripe-go/v76"
)

// An Error is an answer that is not a success.
type Error struct {
	Status        int // of HTTP
	Code, Message string
	// RetryAfter is in seconds; 0 for none.
	RetryAfter int
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func badRequest(message string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Message: message}
}

func conflict(code, message string) *Error {
	return &Error{Status: http.StatusConflict, Code: code, Message: message}
}

var (
	errNoCustomer = &Error{Status: http.StatusNotFound, Code: "no_customer",
		Message: "there is no customer with this id"}
	errBusy = &Error{Status: http.StatusServiceUnavailable, Code: "busy", RetryAfter: 2,
		Message: "too many requests to Stripe are waiting; try again"}
	errUnsettled = &Error{Status: http.StatusServiceUnavailable, Code: "stripe_unavailable", RetryAfter: 2,
		Message: "Stripe gave no answer in time; try again: nothing is done twice"}
	errRefused = &Error{Status: http.StatusBadGateway, Code: "stripe",
		Message: "Stripe failed, or refused the gateway's key: check STRIPE_WRITE_KEY and its permissions"}
)

// A verdict says what an answer of Stripe means for the request.
type verdict int

const (
	done    verdict = iota
	unknown         // no answer, or one that cannot be read: it may have taken effect
	later           // not run: 409, 429 and 503
	failed          // any other 5xx: it may have taken effect, and the key may have saved the error
	refused         // 4xx: it has not taken effect, and will not
)

// judge reads the outcome of one request. replayed reports that Stripe had saved the answer under the
// request's key.
func judge(err error) (v verdict, replayed bool) {
	se, ok := errors.AsType[*stripe.Error](err)
	switch {
	case err == nil:
		return done, false
	case !ok:
		return unknown, false
	case se.LastResponse != nil:
		replayed = se.LastResponse.Header.Get("Idempotent-Replayed") == "true"
	}
	switch status := se.HTTPStatusCode; {
	case status == http.StatusConflict, status == http.StatusTooManyRequests,
		status == http.StatusServiceUnavailable && !replayed:
		return later, replayed
	case status >= 500:
		return failed, replayed
	case status >= 400:
		return refused, replayed
	}
	return unknown, replayed
}

// missing reports whether Stripe has no such object.
func missing(err error) bool {
	se, ok := errors.AsType[*stripe.Error](err)
	return ok && se.Code == stripe.ErrorCodeResourceMissing
}

// An indexError is an error of [Index].Sync, which the caller of this package understands.
type indexError struct{ error }

// publish turns an error of a request to Stripe into the answer. An error that the caller can mend is
// passed on with Stripe's message.
func publish(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if of, ok := errors.AsType[indexError](err); ok {
		return of.error
	}
	se, ok := errors.AsType[*stripe.Error](err)
	switch {
	case ok && (se.HTTPStatusCode == 400 || se.HTTPStatusCode == 402 || se.HTTPStatusCode == 404) &&
		se.Type != stripe.ErrorTypeIdempotency:
		return &Error{Status: http.StatusUnprocessableEntity, Code: "stripe_refused", Message: se.Msg}
	case ok && se.HTTPStatusCode != http.StatusTooManyRequests && se.HTTPStatusCode != http.StatusConflict &&
		se.HTTPStatusCode != http.StatusServiceUnavailable:
		return errRefused
	case ctx.Err() == nil && !ok:
		return errRefused
	}
	return errUnsettled
}
