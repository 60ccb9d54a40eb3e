// Package api has the requests and errors of Stripe's API: parameters, expansions and error answers.
package api

import (
	"fmt"
	"net/http"
)

// Error is an error answer of Stripe's API.
type Error struct {
	Status  int    `json:"-"`
	Reason  string `json:"-"` // Stripe-Rate-Limited-Reason, or ""
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	DocURL  string `json:"doc_url,omitempty"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
}

// The types of errors.
const (
	TypeInvalid = "invalid_request_error"
	TypeAPI     = "api_error"
	// TypeIdempotency is that of a misused Idempotency-Key.
	TypeIdempotency = "idempotency_error"
)

// BadParam returns the error of a parameter; param and code may be empty.
func BadParam(code, param, format string, args ...any) *Error {
	e := &Error{
		Status: http.StatusBadRequest, Type: TypeInvalid, Code: code, Param: param,
		Message: fmt.Sprintf(format, args...),
	}
	if code != "" {
		e.DocURL = "https://stripe.com/docs/error-codes/" + dashed(code)
	}
	return e
}

func dashed(code string) string {
	b := []byte(code)
	for i, c := range b {
		if c == '_' {
			b[i] = '-'
		}
	}
	return string(b)
}

// Missing returns a resource_missing error. The status is 404 for the object that the path names,
// 400 for an object that a parameter names.
func Missing(status int, what, id, param string) *Error {
	e := BadParam("resource_missing", param, "No such %s: '%s'", what, id)
	e.Status = status
	return e
}

// RateLimited returns the error of a rate limit.
func RateLimited(reason string) *Error {
	return &Error{
		Status: http.StatusTooManyRequests, Reason: reason, Type: TypeInvalid, Code: "rate_limit",
		DocURL:  "https://stripe.com/docs/error-codes/rate-limit",
		Message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
	}
}

// LockTimeout returns the error of an object that is locked.
func LockTimeout() *Error {
	return &Error{
		Status: http.StatusTooManyRequests, Reason: "resource-specific", Type: TypeInvalid, Code: "lock_timeout",
		DocURL: "https://stripe.com/docs/error-codes/lock-timeout",
		Message: "This object cannot be accessed right now because another API request or Stripe process " +
			"is currently accessing it. If you see this error intermittently, retry the request. If you see " +
			"this error frequently and are making multiple concurrent requests to a single object, make your " +
			"requests serially or at a lower rate.",
	}
}

// ServerError returns the error of a status that is not the client's fault.
func ServerError(status int) *Error {
	e := &Error{Status: status, Type: TypeAPI, Message: "An unknown error occurred"}
	switch status {
	case http.StatusServiceUnavailable:
		e.Message = "Sorry! There was an error while talking to one of our backends. Support has been notified."
	case http.StatusConflict:
		e.Type = TypeInvalid
		e.Message = "The request conflicts with another request (perhaps due to using the same idempotent key)."
	}
	return e
}
