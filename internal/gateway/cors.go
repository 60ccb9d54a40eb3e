package gateway

import "net/http"

// The request headers that a page may send, and the time in seconds for which a browser may
// remember that. Chromium's limit is two hours.
const (
	allowedHeaders  = "Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID"
	preflightMaxAge = "7200"
	// exposedHeaders are the response headers that a page may read. Date is the clock by which grants
	// end.
	exposedHeaders = "Date, ETag, Retry-After"
)

// preflight sets the CORS headers of a page's request. It answers the question that a browser sends
// before one, and reports whether the request was such a question.
func (g *Gateway) preflight(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	h := w.Header()
	if allowed := g.origins[origin]; allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", allowedHeaders)
			h.Set("Access-Control-Max-Age", preflightMaxAge)
		}
	} else if origin != "" && r.Method == http.MethodOptions {
		forbidden("origin_not_allowed", "the origin is not in GATEWAY_ORIGINS").write(w)
		return true
	}
	if origin == "" || r.Method != http.MethodOptions {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
