package stripesim

import (
	"fmt"
	"net/http"
)

// apiError is an error answer of Stripe's API.
type apiError struct {
	status  int
	reason  string // Stripe-Rate-Limited-Reason, or ""
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	DocURL  string `json:"doc_url,omitempty"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
}

const (
	typeInvalid = "invalid_request_error"
	typeAPI     = "api_error"
)

func badParam(code, param, format string, args ...any) *apiError {
	e := &apiError{
		status: http.StatusBadRequest, Type: typeInvalid, Code: code, Param: param,
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

// missing returns a resource_missing error. The status is 404 for the object that the path names,
// 400 for an object that a parameter names.
func missing(status int, what, id, param string) *apiError {
	e := badParam("resource_missing", param, "No such %s: '%s'", what, id)
	e.status = status
	return e
}

func rateLimited(reason string) *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, reason: reason, Type: typeInvalid, Code: "rate_limit",
		DocURL:  "https://stripe.com/docs/error-codes/rate-limit",
		Message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
	}
}

func lockTimeout() *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, reason: "resource-specific", Type: typeInvalid, Code: "lock_timeout",
		DocURL: "https://stripe.com/docs/error-codes/lock-timeout",
		Message: "This object cannot be accessed right now because another API request or Stripe process " +
			"is currently accessing it. If you see this error intermittently, retry the request. If you see " +
			"this error frequently and are making multiple concurrent requests to a single object, make your " +
			"requests serially or at a lower rate.",
	}
}

func serverError(status int) *apiError {
	e := &apiError{status: status, Type: typeAPI, Message: "An unknown error occurred"}
	switch status {
	case http.StatusServiceUnavailable:
		e.Message = "Sorry! There was an error while talking to one of our backends. Support has been notified."
	case http.StatusConflict:
		e.Type = typeInvalid
		e.Message = "The request conflicts with another request (perhaps due to using the same idempotent key)."
	}
	return e
}

func (e *apiError) answer() *Answer {
	a := &Answer{Status: e.status, Body: mustJSON(map[string]*apiError{"error": e})}
	if e.reason != "" {
		a.Header = http.Header{"Stripe-Rate-Limited-Reason": {e.reason}}
	}
	if e.status == http.StatusUnauthorized {
		a.Header = http.Header{"Www-Authenticate": {`Basic realm="Stripe"`}}
	}
	return a
}
