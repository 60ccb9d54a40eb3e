package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"entitled/internal/checkout"
	"entitled/internal/gateway/decision"
)

// maxBody is the size of the largest body that is read.
const maxBody = 64 << 10

// A request is one that has a caller.
type request struct {
	*http.Request
	w      http.ResponseWriter
	caller caller
	source Source
	now    time.Time
}

// Handler returns the public handler. gin.Context is used only in this file.
func (g *Gateway) Handler() http.Handler { return g.handler }

func (g *Gateway) routes() http.Handler {
	// Gin has only a global mode to keep it from printing its routes.
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false
	r.UseRawPath = true // an encoded slash is part of an id, and then refused
	r.UnescapePathValues = false
	r.Use(g.edge)
	r.NoRoute(func(c *gin.Context) { notFound.write(c.Writer) })
	r.NoMethod(func(c *gin.Context) { methodNotAllowed.write(c.Writer) })

	const customer = "/v1/customers/:id"
	r.GET(customer, g.api(g.getDecision))
	r.GET(customer+"/features/:feature", g.api(g.getFeature))
	r.GET(customer+"/limits/:limit", g.api(g.getLimit))
	r.GET(customer+"/stream", g.api(g.getStream))
	r.GET(customer+"/snapshot", g.api(g.getSnapshot))
	r.POST(customer+"/sync", g.api(g.postSync))
	r.POST(customer+"/checkout", g.api(g.postSession((*checkout.Checkout).Begin)))
	r.POST(customer+"/portal", g.api(g.postSession((*checkout.Checkout).Portal)))
	r.POST("/v1/tokens", g.api(g.postToken))
	r.GET("/v1/openapi.json", func(c *gin.Context) { writeJSON(c.Writer, http.StatusOK, openAPI) })
	r.POST(ofrepPath, g.ofrep(g.evaluateAll))
	r.POST(ofrepPath+"/*key", g.ofrep(g.evaluateOne))
	return r
}

// edge is around every request: panics, headers, CORS and metrics.
func (g *Gateway) edge(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			g.panicked(c.FullPath(), p)
			switch {
			case c.Writer.Written():
			case strings.HasPrefix(c.FullPath(), ofrepPath):
				internalError.writeOFREP(c.Writer, flagKey(c.Request.URL))
			default:
				internalError.write(c.Writer)
			}
		}
		g.metrics.count(c.FullPath(), c.Writer.Status())
	}()
	h := c.Writer.Header()
	h["Cache-Control"] = cachePrivate
	h["Vary"] = vary
	h["X-Content-Type-Options"] = noSniff
	if g.preflight(c.Writer, c.Request) {
		c.Abort()
		return
	}
	span := g.trace.Start(c.Request, c.FullPath())
	c.Next()
	span.End(c.Writer.Status())
}

// panicked counts and logs a panic that was recovered.
func (g *Gateway) panicked(route string, p any) {
	g.metrics.panics.Inc()
	g.log.Error("handler panicked", "route", route, "err", p, "stack", string(debug.Stack()))
}

var (
	cachePrivate = []string{"private, no-cache"}
	vary         = []string{"Authorization, X-API-Key, Origin"}
	noSniff      = []string{"nosniff"}
)

// api wraps a handler of /v1, which returns a problem or has answered.
func (g *Gateway) api(handle func(*request) *problem) gin.HandlerFunc {
	return func(c *gin.Context) {
		q, p := g.admit(c.Writer, c.Request)
		if p == nil {
			p = handle(q)
		}
		if p != nil {
			p.write(c.Writer)
		}
	}
}

// ofrep is api with OFREP's own error bodies.
func (g *Gateway) ofrep(handle func(*request) *problem) gin.HandlerFunc {
	return func(c *gin.Context) {
		q, p := g.admit(c.Writer, c.Request)
		if p == nil {
			p = handle(q)
		}
		if p != nil {
			p.writeOFREP(c.Writer, flagKey(c.Request.URL))
		}
	}
}

func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) (*request, *problem) {
	q := &request{Request: r, w: w, now: time.Now()}
	var p *problem
	if q.source, p = g.open(); p != nil {
		return nil, p
	}
	if q.caller, p = g.identify(r.Header, q.now); p != nil {
		return nil, p
	}
	return q, nil
}

// customer returns the customer that the path names, if the caller may ask for it.
func (q *request) customer() (decision.Ref, *problem) {
	name, p := segment(q.URL, 3)
	if p == nil {
		p = checkName("the customer", name)
	}
	if p != nil {
		return decision.Ref{}, p
	}
	switch t := q.caller.token; {
	case t != nil && (name == "me" || t.may(name)):
		return t.own, nil
	case t != nil:
		return decision.Ref{}, forbidden("not_yours", "the token is of another customer")
	case name == "me":
		return decision.Ref{}, badRequest("me is the customer of a token; with a server key name the customer")
	}
	return named(name)
}

// named reads the name of a customer.
func named(name string) (decision.Ref, *problem) {
	who := decision.ParseRef(name)
	if who.Name == "" {
		return decision.Ref{}, badRequest("the customer is a prefix, key: or id:, without a name behind it")
	}
	return who, nil
}

// server refuses customer tokens, and keys that only read where the request does more.
func (q *request) server(writes bool) *problem {
	switch {
	case q.caller.token != nil:
		return forbidden("server_key_only", "only a server key may do this")
	case writes && !q.caller.writes:
		return forbidden("read_only", "this key only reads")
	}
	return nil
}

// read reads the body.
func (q *request) read() ([]byte, *problem) {
	data, err := io.ReadAll(http.MaxBytesReader(q.w, q.Body, maxBody))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, tooLarge
		}
		return nil, badRequest("the body cannot be read")
	}
	return data, nil
}

// body reads a JSON body.
func (q *request) body(v any) *problem {
	data, p := q.read()
	if p != nil {
		return p
	}
	if err := json.Unmarshal(data, v); err != nil {
		return badRequest("the body is not the JSON that this route takes")
	}
	return nil
}
