package gateway

import (
	"net/http"
	"strconv"

	"entitled/internal/gateway/decision"
)

// A problem is an answer that is not a success.
type problem struct {
	status  int
	code    string
	message string
	// customers are the keys behind an id, for code several.
	customers []string
	// retryAfter is in seconds; 0 for none.
	retryAfter int
}

type problemBody struct {
	Error     string   `json:"error"`
	Message   string   `json:"message"`
	Customers []string `json:"customers,omitempty"`
}

func badRequest(message string) *problem {
	return &problem{status: http.StatusBadRequest, code: "bad_request", message: message}
}

func unauthorized(code, message string) *problem {
	return &problem{status: http.StatusUnauthorized, code: code, message: message}
}

func forbidden(code, message string) *problem {
	return &problem{status: http.StatusForbidden, code: code, message: message}
}

var (
	notFound = &problem{status: http.StatusNotFound, code: "not_found",
		message: "no such route; /v1/openapi.json lists them"}
	methodNotAllowed = &problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
		message: "the route exists for another method"}
	tooLarge = &problem{status: http.StatusRequestEntityTooLarge, code: "body_too_large",
		message: "the body is larger than 64 KiB"}
	notReady = &problem{status: http.StatusServiceUnavailable, code: "not_ready",
		message: "the gateway has not read the bucket yet", retryAfter: 2}
	stopping = &problem{status: http.StatusServiceUnavailable, code: "stopping",
		message: "the gateway is stopping; ask another gateway", retryAfter: 1}
	internalError = &problem{status: http.StatusInternalServerError, code: "internal_error",
		message: "the gateway has a bug; its log says more"}
)

func (p *problem) headers(h http.Header) {
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
}

func (p *problem) write(w http.ResponseWriter) {
	p.headers(w.Header())
	writeJSON(w, p.status, decision.JSON(problemBody{Error: p.code, Message: p.message, Customers: p.customers}))
}

var jsonType = []string{"application/json"}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone gets no answer
}
