package ingest

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Path is the path of Stripe's webhook endpoint.
const Path = "/webhooks/stripe"

// answer is a complete response, built once.
type answer struct {
	status int
	body   []byte
}

var received = answer{http.StatusOK, []byte(`{"received":true}`)}

// answers are the refusals by code.
var answers = map[code]answer{
	signatureMissing: refusal(http.StatusBadRequest, signatureMissing),
	signatureInvalid: refusal(http.StatusBadRequest, signatureInvalid),
	outOfTolerance:   refusal(http.StatusBadRequest, outOfTolerance),
	notAnEvent:       refusal(http.StatusBadRequest, notAnEvent),
	bodyUnreadable:   refusal(http.StatusBadRequest, bodyUnreadable),
	notFound:         refusal(http.StatusNotFound, notFound),
	methodNotAllowed: refusal(http.StatusMethodNotAllowed, methodNotAllowed),
	bodyTooLarge:     refusal(http.StatusRequestEntityTooLarge, bodyTooLarge),
	internalError:    refusal(http.StatusInternalServerError, internalError),
	bodyTooSlow:      refusal(http.StatusRequestTimeout, bodyTooSlow),
	notStored:        refusal(http.StatusServiceUnavailable, notStored),
	crowded:          refusal(http.StatusServiceUnavailable, notStored),
}

func refusal(status int, c code) answer {
	return answer{status, []byte(`{"error":"` + string(c) + `"}`)}
}

var (
	jsonType = []string{"application/json"}
	// retryAfter, in seconds, is the shortest useful delay of a retry; Stripe's schedule is slower.
	retryAfter = []string{"5"}
	closing    = []string{"close"}
)

func (a answer) write(w http.ResponseWriter) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a sender that disconnected gets no answer and retries
}

// Handler returns the public handler: POST on [Path], and refusals. gin.Context is used only in
// this file.
func (in *Ingest) Handler() http.Handler { return in.handler }

func (in *Ingest) routes() http.Handler {
	// Gin has only a global mode to keep it from printing its routes. Tests set a mode that is as
	// quiet.
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
	r := gin.New()
	r.HandleMethodNotAllowed = true
	// Stripe does not follow redirects.
	r.RedirectTrailingSlash = false
	r.Use(func(c *gin.Context) {
		defer in.recovered(c.Writer)
		c.Next()
	})
	r.POST(Path, func(c *gin.Context) { in.webhook(c.Writer, c.Request) })
	r.NoMethod(func(c *gin.Context) { in.refuse(c.Writer, methodNotAllowed) })
	r.NoRoute(func(c *gin.Context) { in.refuse(c.Writer, notFound) })
	return r
}

// besides gives requests for other paths than [Path] to another handler.
func (in *Ingest) besides(webhooks, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == Path:
			webhooks.ServeHTTP(w, r)
		case in.senders.lend(r):
			other.ServeHTTP(w, r)
		default:
			in.refuse(w, crowded)
		}
	})
}

func (in *Ingest) webhook(w http.ResponseWriter, req *http.Request) {
	arrived := time.Now()
	signature := req.Header.Get("Stripe-Signature")
	if refused := in.door.precheck(signature); refused != "" {
		in.refuse(w, refused)
		return
	}
	s := in.senders.of(w, req)
	defer in.senders.done(s)
	e, body, refused := in.admit(w, req, signature, s)
	if refused != "" {
		in.refuse(w, refused)
		return
	}
	ctx, span := in.store.trace.webhook(req.Context(), arrived, &e)
	start := time.Now()
	r, err := in.store.put(ctx, &e, body)
	in.metrics.count(e.Type, r.duplicate, err, time.Since(start))
	if err != nil {
		// nats.go may still send the body, so it is not reused.
		in.notStored(&e, err)
		w.Header()["Retry-After"] = retryAfter
		answers[notStored].write(w)
		span.answered(http.StatusServiceUnavailable, r.duplicate, err)
		return
	}
	if !r.inUse {
		in.parts.put(body)
	}
	received.write(w)
	span.answered(received.status, r.duplicate, nil)
}

// admit returns the event of a request that Stripe signed, and its body, which is charged to the
// sender.
func (in *Ingest) admit(w http.ResponseWriter, r *http.Request, signature string,
	s *sender) (stripeevent.Envelope, []byte, code) {
	var e stripeevent.Envelope
	parts, refused := in.receive(w, r, s)
	if refused != "" {
		return e, nil, refused
	}
	if !in.door.signed(parts, signature) {
		return e, nil, in.drop(parts, s, signatureInvalid)
	}
	body, refused := in.join(parts, s)
	if refused != "" {
		return e, nil, refused
	}
	refused = in.door.verify(body, signature)
	if refused == "" {
		var err error
		if e, err = stripeevent.Parse(body); err != nil {
			refused = notAnEvent
		}
	}
	if refused == "" && !in.senders.verified(s) {
		refused = crowded
	}
	if refused != "" {
		in.parts.put(body)
		in.senders.free(s, s.body) // before the answer, which may block on its reader
	}
	return e, body, refused
}

// refuse answers and counts a request that is not stored, and closes its connection.
func (in *Ingest) refuse(w http.ResponseWriter, c code) {
	in.metrics.refused.WithLabelValues(string(c)).Inc()
	if c == crowded {
		w.Header()["Retry-After"] = retryAfter
	}
	// Otherwise net/http would read the rest of the body, or the stranger's next request.
	w.Header()["Connection"] = closing
	answers[c].write(w)
	if c == notFound || c == methodNotAllowed {
		return // common scans, not worth a log line
	}
	if suppressed, ok := in.refusals.allow(time.Now()); ok {
		in.log.Warn("webhook refused, not stored; entitled_ingest_refused_total counts all of them",
			"code", string(c), "suppressed", suppressed, "hint", refusalHint(c))
	}
}

func refusalHint(c code) string {
	switch c {
	case signatureInvalid:
		return "check that STRIPE_WEBHOOK_SECRETS has this endpoint's signing secret; if it has, the request is a " +
			"forgery"
	case outOfTolerance:
		return "check this machine's clock; if it is right, the webhook is old or forged"
	case bodyTooLarge:
		return "raise MAX_BODY_BYTES if Stripe sent it"
	case crowded:
		return "MAX_BODIES_BYTES has no room for so many senders: block strangers (Stripe publishes its addresses), " +
			"or raise it together with the process's memory"
	}
	return ""
}

func (in *Ingest) notStored(e *stripeevent.Envelope, err error) {
	if suppressed, ok := in.failures.allow(time.Now()); ok {
		in.log.Error("webhook not stored, Stripe will retry it",
			"event", e.ID, "type", e.Type, "err", topology.NameNoRoom(err), "hint", hint(err), "suppressed", suppressed)
	}
}

// recovered ends a request that panicked. The panic value may contain a payload, so only runtime
// errors, which do not, are logged in full.
func (in *Ingest) recovered(w gin.ResponseWriter) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	in.metrics.panics.Inc()
	if suppressed, ok := in.panics.allow(time.Now()); ok {
		what := fmt.Sprintf("a %T", p)
		if err, ok := p.(runtime.Error); ok {
			what = err.Error()
		}
		in.log.Error("webhook handler panicked",
			"err", what, "stack", strconv.Quote(string(debug.Stack())), "suppressed", suppressed)
	}
	if !w.Written() {
		answers[internalError].write(w)
	}
}
