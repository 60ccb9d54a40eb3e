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

// Path is where Stripe's webhook endpoint must point.
const Path = "/webhooks/stripe"

// answer is a whole response, made once.
type answer struct {
	status int
	body   []byte
}

var received = answer{http.StatusOK, []byte(`{"received":true}`)}

// refusals, by code.
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
	// retryAfter, in seconds, is a lower bound for when asking again makes sense; Stripe's own schedule is slower.
	retryAfter = []string{"5"}
	closing    = []string{"close"}
)

func (a answer) write(w http.ResponseWriter) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a sender that is gone gets no answer and asks again
}

// Handler is the public side: POST on [Path], and refusals. A gin.Context goes no further than this file.
func (in *Ingest) Handler() http.Handler { return in.handler }

func (in *Ingest) routes() http.Handler {
	// Gin's mode is the process's, there is no other way to keep it from printing its routes; tests run in a mode of
	// their own that is as quiet.
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
	r := gin.New()
	r.HandleMethodNotAllowed = true
	// A redirect would make Stripe's sender give up: it follows none.
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

func (in *Ingest) webhook(w http.ResponseWriter, req *http.Request) {
	arrived := time.Now()
	signature := req.Header.Get("Stripe-Signature")
	if refused := in.door.look(signature); refused != "" {
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
		// nats.go may still publish from the body: it is left to the garbage collector.
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

// admit returns the event of a request that Stripe signed, and its body, which is charged to the sender.
func (in *Ingest) admit(w http.ResponseWriter, r *http.Request, signature string, s *sender) (stripeevent.Envelope, []byte, code) {
	var e stripeevent.Envelope
	parts, refused := in.receive(w, r, s)
	if refused != "" {
		return e, nil, refused
	}
	if !in.door.signed(parts, signature) {
		return e, nil, in.drop(parts, s, signatureInvalid)
	}
	body, refused := in.whole(parts, s)
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
		in.senders.free(s, s.body) // before the answer, which may have to wait for its reader
	}
	return e, body, refused
}

// refuse answers and counts a request that is not stored, and ends its connection.
func (in *Ingest) refuse(w http.ResponseWriter, c code) {
	in.metrics.refused.WithLabelValues(string(c)).Inc()
	if c == crowded {
		w.Header()["Retry-After"] = retryAfter
	}
	// Rather than read on to the end of a body, or take what else a stranger has to say.
	w.Header()["Connection"] = closing
	answers[c].write(w)
	if c == notFound || c == methodNotAllowed {
		return // the internet's background noise
	}
	if held, ok := in.refusals.allow(time.Now()); ok {
		in.log.Warn("webhook refused; entitled_ingest_refused_total counts them all", "code", string(c), "unlogged", held, "hint", refusalHint(c))
	}
}

func refusalHint(c code) string {
	switch c {
	case signatureInvalid:
		return "is the signing secret of this endpoint in STRIPE_WEBHOOK_SECRETS? else somebody is trying the door"
	case outOfTolerance:
		return "is this machine's clock right? else it is an old webhook, or a forged one"
	case bodyTooLarge:
		return "MAX_BODY_BYTES"
	case crowded:
		return "more senders than MAX_BODIES_BYTES has room for: keep strangers out (Stripe publishes its addresses), or raise it with the memory of this process"
	}
	return ""
}

func (in *Ingest) notStored(e *stripeevent.Envelope, err error) {
	if held, ok := in.failures.allow(time.Now()); ok {
		in.log.Error("webhook not stored, Stripe will send it again", "event", e.ID, "type", e.Type, "err", topology.NameNoRoom(err), "hint", hint(err), "unlogged", held)
	}
}

// recovered ends a request that panicked. What was panicked with may hold a payload: only runtime errors, which
// do not, are logged in full.
func (in *Ingest) recovered(w gin.ResponseWriter) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	in.metrics.panics.Inc()
	if held, ok := in.panics.allow(time.Now()); ok {
		what := fmt.Sprintf("a %T", p)
		if err, ok := p.(runtime.Error); ok {
			what = err.Error()
		}
		in.log.Error("webhook handler panicked", "err", what, "stack", strconv.Quote(string(debug.Stack())), "unlogged", held)
	}
	if !w.Written() {
		answers[internalError].write(w)
	}
}
