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
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// serviceVersion is what `nats micro ls` shows; it rises with the request's or the reply's format.
const serviceVersion = "1.0.0"

// serviceName is the micro service's of the syncers of a mode.
func serviceName(m entitlement.Mode) string { return "entitled-sync-" + string(m) }

// PingSubject is where each syncer of a mode answers that it is there, with [PolicyMetadata].
func PingSubject(m entitlement.Mode) string { return "$SRV.PING." + serviceName(m) }

const (
	// answerWithin bounds a request: whoever asks waits this long.
	answerWithin = 10 * time.Second
	// asking bounds the requests under way in one syncer; more are told to come back.
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

// serve answers requests for a fresh snapshot, each from a fetch that starts after the request, until ctx ends; then it
// finishes those under way, until hard ends. The syncers of a mode share the requests.
func (s *Syncer) serve(ctx, hard context.Context) error {
	var answering sync.WaitGroup
	defer answering.Wait()
	room := make(chan struct{}, asking)
	svc, err := micro.AddService(s.nc, micro.Config{
		Name:        serviceName(s.mode),
		Version:     serviceVersion,
		Description: "a customer's snapshot, read from Stripe after the request",
		Metadata:    map[string]string{PolicyMetadata: s.policy().String()},
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
			s.respond(r.Error(strconv.Itoa(http.StatusTooManyRequests), "too many requests under way, come back in a second", nil))
		}
	}
	if err := svc.AddEndpoint("sync", micro.HandlerFunc(handler), micro.WithEndpointSubject(entitlement.SyncSubject(s.mode))); err != nil {
		return fmt.Errorf("serve %s: %w", entitlement.SyncSubject(s.mode), errors.Join(err, svc.Stop()))
	}
	<-ctx.Done()
	if err := svc.Stop(); err != nil && !s.nc.IsClosed() {
		return fmt.Errorf("stop serving %s: %w", entitlement.SyncSubject(s.mode), err)
	}
	return nil
}

// answer waits for a reading that begins after the request, and shares it with whoever else does; start runs it.
func (s *Syncer) answer(hard context.Context, r micro.Request, start func(func())) {
	ctx, cancel := context.WithTimeout(hard, answerWithin)
	defer cancel()
	var q request
	if err := json.Unmarshal(r.Data(), &q); err != nil {
		s.respond(r.Error(strconv.Itoa(http.StatusBadRequest), `not a request: send {"customer":"cus_…","account":""}`, nil))
		return
	}
	if err := q.check(); err != nil {
		s.respond(r.Error(strconv.Itoa(http.StatusBadRequest), err.Error(), nil))
		return
	}
	t := task{
		customer: stripeevent.Customer{Mode: s.mode, Account: q.Account, ID: q.Customer},
		lane:     stripeevent.Now,
		cause:    entitlement.Cause{Trigger: stripeevent.TriggerRequest},
	}
	if s.isStranger(ctx, t.customer) {
		s.respond(r.Error(strconv.Itoa(http.StatusNotFound), errNoCustomer.Error(), nil))
		return
	}
	ctx, end := s.tracer.task(ctx, trace.SpanKindServer, entitlement.SyncSubject(s.mode), nats.Header(r.Headers()), t)
	defer end()
	// Who shares a reading may have longer to wait than the one who asked for it.
	hard = trace.ContextWithSpan(hard, trace.SpanFromContext(ctx))
	shared := s.readings.ask(t.customer, func() (synced, error) { return s.read(hard, t) }, start)
	var res synced
	var err error
	select {
	case <-shared.done:
		res, err = shared.res, shared.err
	case <-ctx.Done():
		err = fmt.Errorf("wait for a reading of %s: %w", t.customer, ctx.Err())
	}
	if t := s.storage.standing(); t != nil && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, t) {
		err = fmt.Errorf("%w: %w", err, t) // that is why nothing came in time
	}
	tell(ctx, res, err)
	if err != nil {
		code, text := answerTo(err)
		s.respond(r.Error(code, text, detail(err)))
		return
	}
	s.respond(r.Respond(encode(reply{Snapshot: res.snapshot, Revision: res.record.Revision})))
}

// read syncs a customer because somebody asked for it.
func (s *Syncer) read(ctx context.Context, t task) (synced, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	res, err := s.protocol.sync(ctx, ctx, t)
	switch {
	case err == nil:
		err = s.succeeded(ctx, t, res)
	case errors.Is(err, errNoCustomer):
		s.strangers.add(t.customer, time.Now())
	case ctx.Err() == nil:
		s.failed(ctx, t, res.record, err)
	}
	return res, err
}

// isStranger reports whether Stripe said lately that it has no such customer, and nothing was written about it since.
func (s *Syncer) isStranger(ctx context.Context, c stripeevent.Customer) bool {
	if !s.strangers.has(c, time.Now()) {
		return false
	}
	data, _, err := s.protocol.Snapshot(ctx, c.Key())
	return err == nil && data == nil
}

// check refuses ids that nothing in Stripe can have, before Stripe is asked for them.
func (q request) check() error {
	switch {
	case !possible(q.Customer):
		return errors.New(`"customer" is not an id of Stripe's`)
	case q.Account != "" && (!possible(q.Account) || !strings.HasPrefix(q.Account, "acct_")):
		return errors.New(`"account" is not an id of a connected account, acct_…`)
	}
	return nil
}

// possible reports whether an object of Stripe's can have this id. The creator of a customer may choose it, but not one with blanks, control
// characters or slashes, nor one that means another path.
func possible(id string) bool {
	return strings.Trim(id, ".") != "" && len(id) <= longestID && !strings.ContainsFunc(id, func(r rune) bool {
		return r == '/' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) || unicode.IsSpace(r)
	})
}

// answerTo is what whoever asks is told: a status in HTTP's sense and a sentence. The operator's log has the chain.
func answerTo(err error) (code, text string) {
	if topology.IsNoRoom(err) || errors.Is(err, errSilent) { // first: the budget waits for NATS until there is no time left
		return strconv.Itoa(http.StatusServiceUnavailable), "not synced: " + topology.NameNoRoom(err).Error()
	}
	if errors.Is(err, errNoCustomer) {
		return strconv.Itoa(http.StatusNotFound), errNoCustomer.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return strconv.Itoa(http.StatusGatewayTimeout), "no snapshot within " + answerWithin.String() + ": Stripe is slow or the budget is in use"
	}
	if e, ok := errors.AsType[*stripeapi.Error](err); ok {
		return strconv.Itoa(http.StatusBadGateway), e.Error()
	}
	return strconv.Itoa(http.StatusServiceUnavailable), "not synced: " + err.Error()
}

// detail is the data beside a refusal: the status that Stripe answered with, 0 without an answer; that NATS is full, or silent; nothing
// where neither is the reason. A 502 alone does not say whether the key is wrong or Stripe has trouble.
func detail(err error) []byte {
	switch {
	case topology.IsNoRoom(err):
		return []byte(`{"nats":"full"}`)
	case errors.Is(err, errSilent):
		return []byte(`{"nats":"silent"}`)
	}
	e, ok := errors.AsType[*stripeapi.Error](err)
	if !ok || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return fmt.Appendf(nil, `{"stripe_status":%d}`, e.Status)
}

// respond logs a reply that could not be sent; whoever asked runs into its own timeout.
func (s *Syncer) respond(err error) {
	if err != nil {
		s.log.Warn("request not answered", "err", err)
	}
}
