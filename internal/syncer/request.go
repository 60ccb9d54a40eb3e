package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/trace"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

// serviceVersion is shown by `nats micro ls`; it rises with the format of the request or the reply.
const serviceVersion = "1.0.0"

const (
	// asking bounds the requests under way in one syncer; more are refused with 429.
	asking = 64
	// longestID bounds an id, in bytes, as Stripe does.
	longestID = 255
)

type request struct {
	Customer string `json:"customer"`
	Account  string `json:"account"`
}

type reply struct {
	Snapshot entitlement.Snapshot `json:"snapshot"`
	Revision uint64               `json:"revision"`
}

// serve answers requests for a fresh snapshot, each from a fetch that starts after the request,
// until ctx ends. Then it finishes the requests under way, until hard ends. The syncers of a mode
// share the requests.
func (s *Syncer) serve(ctx, hard context.Context) error {
	var answering sync.WaitGroup
	defer answering.Wait()
	room := make(chan struct{}, asking)
	svc, err := micro.AddService(s.nc, micro.Config{
		Name:        stripeevent.ServiceName(s.mode),
		Version:     serviceVersion,
		Description: "a customer's snapshot, read from Stripe after the request",
	})
	if err != nil {
		return fmt.Errorf("serve %s: %w", entitlement.SyncSubject(s.mode), err)
	}
	handler := func(r micro.Request) {
		select {
		case room <- struct{}{}:
			answering.Go(func() {
				defer func() { <-room }()
				s.answer(hard, r, answering.Go)
			})
		default:
			code := strconv.Itoa(http.StatusTooManyRequests)
			s.respond(r.Error(code, "too many requests under way, try again in a second", nil))
		}
	}
	if err := svc.AddEndpoint("sync", micro.HandlerFunc(handler),
		micro.WithEndpointSubject(entitlement.SyncSubject(s.mode))); err != nil {
		return fmt.Errorf("serve %s: %w", entitlement.SyncSubject(s.mode), errors.Join(err, svc.Stop()))
	}
	<-ctx.Done()
	if err := svc.Stop(); err != nil && !s.nc.IsClosed() {
		return fmt.Errorf("stop serving %s: %w", entitlement.SyncSubject(s.mode), err)
	}
	return nil
}

// answer answers one request. It waits for a reading that begins after the request, and shares it
// with other requests that wait; start runs the reading.
func (s *Syncer) answer(hard context.Context, r micro.Request, start func(func())) {
	ctx, cancel := context.WithTimeout(hard, timing.AnswerWithin)
	defer cancel()
	var q request
	if err := json.Unmarshal(r.Data(), &q); err != nil {
		s.respond(r.Error(strconv.Itoa(http.StatusBadRequest),
			`not a request: send {"customer":"cus_…","account":""}`, nil))
		return
	}
	if err := q.check(); err != nil {
		s.respond(r.Error(strconv.Itoa(http.StatusBadRequest), err.Error(), nil))
		return
	}
	t := protocol.Task{
		Customer: stripeevent.Customer{Mode: s.mode, Account: q.Account, ID: q.Customer},
		Lane:     stripeevent.Now,
		Cause:    entitlement.Cause{Trigger: stripeevent.TriggerRequest},
	}
	if s.isStranger(ctx, t.Customer) {
		s.respond(r.Error(strconv.Itoa(http.StatusNotFound), protocol.ErrNoCustomer.Error(), nil))
		return
	}
	ctx, end := s.tracer.task(ctx, trace.SpanKindServer, entitlement.SyncSubject(s.mode), nats.Header(r.Headers()), t)
	defer end()
	// The reading is not bound to ctx: another request that shares it may wait longer than this
	// one.
	hard = trace.ContextWithSpan(hard, trace.SpanFromContext(ctx))
	shared := s.readings.Ask(t.Customer, func() (protocol.Result, error) { return s.read(hard, t) }, start)
	res, err := shared.Wait(ctx)
	if ctx.Err() != nil && err == ctx.Err() {
		err = fmt.Errorf("wait for a reading of %s: %w", t.Customer, err)
	}
	if t := s.storage.Standing(); t != nil && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, t) {
		err = fmt.Errorf("%w: %w", err, t) // the reason for the timeout
	}
	traceResult(ctx, res, err)
	if err != nil {
		code, text := answerTo(err)
		s.respond(r.Error(code, text, detail(err)))
		return
	}
	s.respond(r.Respond(record.JSON(reply{Snapshot: res.Snapshot, Revision: res.Record.Revision})))
}

// read syncs a customer for a request.
func (s *Syncer) read(ctx context.Context, t protocol.Task) (protocol.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, timing.AnswerWithin)
	defer cancel()
	res, err := s.protocol.Request(ctx, t)
	if errors.Is(err, protocol.ErrNoCustomer) {
		s.strangers.Add(t.Customer, time.Now())
	}
	return res, err
}

// isStranger reports whether Stripe recently had no such customer, and the bucket has no entry of
// it.
func (s *Syncer) isStranger(ctx context.Context, c stripeevent.Customer) bool {
	if !s.strangers.Has(c, time.Now()) {
		return false
	}
	data, _, err := s.outside.Snapshot(ctx, c.Key())
	return err == nil && data == nil
}

// check refuses ids that no object of Stripe can have.
func (q request) check() error {
	switch {
	case !possible(q.Customer):
		return errors.New(`"customer" is not an id of Stripe's`)
	case q.Account != "" && (!possible(q.Account) || !strings.HasPrefix(q.Account, "acct_")):
		return errors.New(`"account" is not an id of a connected account, acct_…`)
	}
	return nil
}

// possible reports whether an object of Stripe can have this id. The creator of a customer may
// choose it, but without blanks, control characters or slashes. Dots alone would change the path of
// the request.
func possible(id string) bool {
	return strings.Trim(id, ".") != "" && len(id) <= longestID && !strings.ContainsFunc(id, func(r rune) bool {
		return r == '/' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) || unicode.IsSpace(r)
	})
}

// answerTo returns the error for the app: an HTTP status and a sentence. The log has the full
// error.
func answerTo(err error) (code, text string) {
	// First, because the budget waits for NATS until the deadline.
	if topology.IsNoRoom(err) || errors.Is(err, store.ErrSilent) {
		return strconv.Itoa(http.StatusServiceUnavailable), "not synced: " + topology.NameNoRoom(err).Error()
	}
	if errors.Is(err, protocol.ErrNoCustomer) {
		return strconv.Itoa(http.StatusNotFound), protocol.ErrNoCustomer.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return strconv.Itoa(http.StatusGatewayTimeout),
			"no snapshot within " + timing.AnswerWithin.String() + ": Stripe is slow or the budget is in use"
	}
	if e, ok := errors.AsType[*stripeapi.Error](err); ok {
		return strconv.Itoa(http.StatusBadGateway), e.Error()
	}
	return strconv.Itoa(http.StatusServiceUnavailable), "not synced: " + err.Error()
}

// detail returns the data of an error reply: whether NATS is full or silent, else the status of
// Stripe's answer, 0 without an answer. A 502 alone does not say whether the key is wrong or Stripe
// fails.
func detail(err error) []byte {
	switch {
	case topology.IsNoRoom(err):
		return []byte(`{"nats":"full"}`)
	case errors.Is(err, store.ErrSilent):
		return []byte(`{"nats":"silent"}`)
	}
	e, ok := errors.AsType[*stripeapi.Error](err)
	if !ok || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return fmt.Appendf(nil, `{"stripe_status":%d}`, e.Status)
}

// respond logs a reply that could not be sent; the app runs into its own timeout.
func (s *Syncer) respond(err error) {
	if err != nil {
		s.log.Warn("request not answered", "err", err)
	}
}
