package stripesim

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
	"entitled/stripesim/internal/wire"
)

// The bounds of a checkout session's life, in seconds.
const (
	sessionLife      = 24 * 3600
	sessionLifeLeast = 30 * 60
)

// DeclinedCard is the last four digits of the card whose charges always fail.
const DeclinedCard = "0002"

// ErrDeclined says that a card was declined.
var ErrDeclined = errors.New("the card was declined")

// session is a checkout session's state.
type session struct {
	checkout CheckoutParams
	id       string
	status   string // open, complete or expired
	customer string
	created  int64
	expires  int64
	metadata map[string]string
	success  string
	cancel   string
	ref      string // client_reference_id
	base     string // of its URL
	amount   int64
	currency string
	sub      string // "" until the first attempt to pay
	invoice  string
}

type sessionRecord struct {
	place
	history[session]
}

var sessionFields = []string{
	"mode", "customer", "customer_email", "success_url", "cancel_url", "client_reference_id", "expires_at",
	"line_items[#][price]", "line_items[#][quantity]", "metadata[*]", "subscription_data[trial_period_days]",
	"subscription_data[metadata][*]",
}

func sessionEndpoints() []*endpoint {
	const read, write = "rak_checkout_session_read", "rak_checkout_session_write"
	byForm := func(_ *world, q *api.Query) string { return q.Form["customer"] }
	return []*endpoint{
		{
			name: "POST /v1/checkout/sessions", permission: write, object: "session", fields: sessionFields,
			write: writeSession, customer: byForm,
		},
		{
			name: "GET /v1/checkout/sessions", permission: read, object: "list:session", list: true,
			params: api.Params{"customer": api.Scalar, "status": api.Scalar, "subscription": api.Scalar,
				"created": api.Span}.Paged(),
			read: view.listSessions, customer: func(_ *world, q *api.Query) string { return q.One["customer"] },
		},
		{
			name: "GET /v1/checkout/sessions/:id", permission: read, object: "session",
			read: view.getSession, customer: noCustomer,
		},
		{
			name: "POST /v1/checkout/sessions/:id/expire", permission: write, object: "session",
			write: expireSession, customer: noCustomer,
		},
		{
			name: "POST /v1/billing_portal/sessions", permission: "rak_customer_portal_write",
			object: "billing_portal.session",
			fields: []string{"customer", "return_url", "flow_data[type]",
				"flow_data[subscription_cancel][subscription]", "flow_data[subscription_update][subscription]"},
			write: writePortal, customer: byForm,
		},
		{
			name: "DELETE /v1/subscriptions/:id", permission: "rak_subscription_write", object: "subscription",
			write:    cancelSubscription,
			customer: func(w *world, q *api.Query) string { return w.ownerOf(q.ID) },
		},
	}
}

// living returns the customer that a parameter names.
func (t *tx) living(id string) (*custRecord, *api.Error) {
	rec := t.custs[id]
	if rec == nil || rec.get().Deleted {
		return nil, api.Missing(http.StatusBadRequest, "customer", id, "customer")
	}
	return t.of(rec), nil
}

func number(q *api.Query, name string, least, most, otherwise int64) (int64, *api.Error) {
	raw, ok := q.Form[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil || n < least || n > most {
		return 0, api.BadParam("parameter_invalid_integer", name, "Invalid integer: %s", raw)
	}
	return n, nil
}

func writeSession(t *tx, v view, q *api.Query) (any, *api.Error) {
	s := &session{
		status: "open", created: t.listed, customer: q.Form["customer"], success: q.Form["success_url"],
		cancel: q.Form["cancel_url"], ref: q.Form["client_reference_id"], base: q.Base,
	}
	if s.customer != "" {
		if _, err := t.living(s.customer); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"success_url", "cancel_url"} {
		if u := q.Form[name]; u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
			return nil, api.BadParam("url_invalid", name, "Not a valid URL")
		}
	}
	switch {
	case q.Form["mode"] != "subscription":
		return nil, api.BadParam("", "mode", "The simulator has sessions of mode subscription only.")
	case s.success == "":
		return nil, api.BadParam("parameter_missing", "success_url", "Missing required param: success_url.")
	}
	price := t.prices[q.Form["line_items[0][price]"]]
	if price == nil {
		return nil, api.Missing(http.StatusBadRequest, "price", q.Form["line_items[0][price]"], "line_items[0][price]")
	}
	if q.Form["line_items[1][price]"] != "" {
		return nil, api.BadParam("", "line_items[1][price]", "The simulator has sessions of one price only.")
	}
	if !price.get().Active {
		return nil, api.BadParam("", "line_items[0][price]", "The price specified is inactive. This field only "+
			"accepts active prices.")
	}
	quantity, err := number(q, "line_items[0][quantity]", 1, 999_999, 1)
	if err != nil {
		return nil, err
	}
	trial, err := number(q, "subscription_data[trial_period_days]", 1, 730, 0)
	if err != nil {
		return nil, err
	}
	if s.expires, err = number(q, "expires_at", t.listed+sessionLifeLeast, t.listed+sessionLife,
		t.listed+sessionLife); err != nil {
		return nil, err
	}
	if s.metadata, err = q.MergedMetadata("metadata", nil); err != nil {
		return nil, err
	}
	metadata, err := q.MergedMetadata("subscription_data[metadata]", nil)
	if err != nil {
		return nil, err
	}
	s.checkout = CheckoutParams{Customer: s.customer, Email: q.Form["customer_email"], Price: price.id,
		Quantity: quantity, TrialDays: int(trial), SubscriptionMetadata: metadata}
	s.currency, s.amount = price.get().Currency, price.get().UnitAmount*quantity
	if trial > 0 {
		s.amount = 0
	}
	s.id = t.newSessionID()
	rec := &sessionRecord{place: t.place(s.id, t.listed)}
	rec.set(s, t.stamp)
	t.sessions[s.id] = rec
	t.sessionList = append(t.sessionList, rec)
	t.openSessions = append(t.openSessions, rec)
	return v.session(s), nil
}

func (t *tx) newSessionID() string {
	mode := "test"
	if t.scope.live {
		mode = "live"
	}
	return ids.New(t.rng, "cs_"+mode+"_a1", 56)
}

// session renders a session, which has a URL while it is open.
func (v view) session(s *session) *wire.Session {
	out := &wire.Session{
		ID: s.id, Object: "checkout.session", AmountTotal: s.amount, Created: s.created, Currency: s.currency,
		Customer: wire.StrOrNull(s.customer), Email: wire.StrOrNull(s.checkout.Email), Livemode: v.w.scope.live,
		Metadata: metadata(s.metadata), Mode: "subscription", PaymentStatus: "unpaid", Status: s.status,
		SuccessURL: wire.StrOrNull(s.success), CancelURL: wire.StrOrNull(s.cancel), Reference: wire.StrOrNull(s.ref),
		ExpiresAt: s.expires,
	}
	switch s.status {
	case "open":
		out.URL = wire.StrOrNull(s.base + payPrefix + s.id)
	case "complete":
		out.Subscription, out.Invoice, out.PaymentStatus = wire.StrOrNull(s.sub), wire.StrOrNull(s.invoice), "paid"
		if s.checkout.TrialDays > 0 {
			out.PaymentStatus = "no_payment_required"
		}
	}
	return out
}

func (v view) getSession(q *api.Query) (any, *api.Error) {
	rec := v.w.sessions[q.ID]
	if rec == nil {
		return nil, api.Missing(http.StatusNotFound, "checkout.session", q.ID, "session")
	}
	return v.session(rec.get()), nil
}

func (v view) listSessions(q *api.Query) (any, *api.Error) {
	if err := q.OneOf("status", "open", "complete", "expired"); err != nil {
		return nil, err
	}
	page, more, err := pageOf(v.w.sessionList, q, func(id string) (*place, bool) {
		rec := v.w.sessions[id]
		if rec == nil {
			return nil, false
		}
		return &rec.place, true
	}, "checkout.session", func(rec *sessionRecord) bool {
		s := rec.asOf(v.at)
		return s != nil && wanted(q, "customer", s.customer) && wanted(q, "status", s.status) &&
			wanted(q, "subscription", s.sub)
	})
	if err != nil {
		return nil, err
	}
	data := make([]*wire.Session, len(page))
	for i, rec := range page {
		data[i] = v.session(rec.asOf(v.at))
	}
	return &wire.List{Object: "list", Data: data, HasMore: more, URL: "/v1/checkout/sessions"}, nil
}

func expireSession(t *tx, v view, q *api.Query) (any, *api.Error) {
	rec := t.sessions[q.ID]
	if rec == nil {
		return nil, api.Missing(http.StatusNotFound, "checkout.session", q.ID, "session")
	}
	if rec.get().status != "open" {
		return nil, api.BadParam("", "", "Only Checkout Sessions with a status in [\"open\"] can be expired. This "+
			"Checkout Session has a status of `%s`.", rec.get().status)
	}
	t.closeSession(rec, "expired")
	return v.session(rec.get()), nil
}

// closeSession ends an open session and emits checkout.session.completed or .expired.
func (t *tx) closeSession(rec *sessionRecord, status string) {
	next := *rec.get()
	next.status = status
	kind := "checkout.session.expired"
	if status == "complete" {
		kind = "checkout.session.completed"
	}
	rec.set(&next, t.stamp)
	t.openSessions = slices.DeleteFunc(slices.Clone(t.openSessions), func(r *sessionRecord) bool { return r == rec })
	t.emit(kind, t.view().session(&next), nil)
}

// nextExpiry returns the open session that expires first; nil without one.
func (w *world) nextExpiry() (first *sessionRecord) {
	for _, rec := range w.openSessions {
		if first == nil || rec.get().expires < first.get().expires {
			first = rec
		}
	}
	return first
}

func cancelSubscription(t *tx, v view, q *api.Query) (any, *api.Error) {
	rec := t.subs[q.ID]
	if rec == nil || rec.get().ended() {
		return nil, api.Missing(http.StatusNotFound, "subscription", q.ID, "id")
	}
	t.cancelNow(rec, "cancellation_requested")
	t.reentitle(rec.owner)
	return v.subscription(rec.get(), q.Expand), nil
}
