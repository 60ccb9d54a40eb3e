package stripesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"entitled/stripesim/internal/wire"
)

const adminPrefix = "/_sim/"

// AdminAPI describes the paths under /_sim/, which drive a [Sim] over HTTP. They need no key, so a
// Sim with them should listen on loopback only. Bodies and answers are JSON. A refused request gets
// an answer with status 400, or 404 for an unknown path, and the body {"error":…}, which lists the
// known paths, fields or actions.
//
// In a body, account selects a connected account and live a mode; by default they select the
// account that is embedded in the Sim. Durations are strings such as "1.5s". The fields of faults
// are those of [Faults], the fields of webhooks those of [WebhookEndpoint].
const AdminAPI = `GET    state     ?customer= and, for another account, &account= &live=: one customer;
                 without customer: the clock and the newest customers
POST   checkout  {customer, email, name, metadata, price, quantity, trial_days, spread,
                 account, live}: a customer buys; all fields are optional, price
                 defaults to price_pro_monthly, spread is how long the purchase takes
POST   act       {do, id, account, live}: one of these actions on the object id
                 a subscription: cancel, cancel_at_period_end, undo_cancel, resume,
                   pay_invoice, cancel_at {at: unix seconds}, change_price {price},
                   set_status {status}
                 a customer: fail_payments, recover_payments, delete_customer,
                   update_customer {metadata}
                 a payment method: detach_payment_method
POST   catalog   {product, name, features, price, lookup_key, unit_amount, interval,
                 account, live}: creates a product and its price; {} creates the demo's
GET    clock     the time of the clock
POST   clock     {advance}: moves the clock, "768h" for instance
GET    faults    the current faults
POST   faults    replaces all faults; {} ends them
GET    webhooks  the endpoints and the latest attempts
POST   webhooks  {url, secrets, connect, livemode, enabled_types, id}: adds an endpoint
POST   quiet     answers once every webhook was accepted or given up
GET    requests  the latest API requests, and totals
DELETE requests  clears them
POST   stories   {name, pace}: plays one story, or all, and answers with their steps`

// adminRoutes returns the handler of [AdminAPI].
func (s *Sim) adminRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	var patterns []string
	handle := func(pattern string, fn func(r *http.Request) (any, error)) {
		patterns = append(patterns, pattern)
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			out, err := fn(r)
			if err != nil {
				rw.WriteHeader(http.StatusBadRequest)
				out = map[string]string{"error": err.Error()}
			}
			// Ignore the error: the client has disconnected.
			_, _ = rw.Write(append(wire.MustJSON(out), '\n'))
		})
	}
	handle("GET /_sim/state", s.adminState)
	handle("POST /_sim/catalog", s.adminCatalog)
	handle("POST /_sim/checkout", s.adminCheckout)
	handle("POST /_sim/act", s.adminAct)
	handle("GET /_sim/clock", func(*http.Request) (any, error) { return s.adminClock(), nil })
	handle("POST /_sim/clock", s.adminAdvance)
	handle("GET /_sim/faults", func(*http.Request) (any, error) { return s.Faults(), nil })
	handle("POST /_sim/faults", s.adminFaults)
	handle("GET /_sim/webhooks", func(*http.Request) (any, error) {
		return map[string]any{"endpoints": s.WebhookEndpoints(), "attempts": s.Attempts()}, nil
	})
	handle("POST /_sim/webhooks", s.adminWebhook)
	handle("POST /_sim/quiet", func(r *http.Request) (any, error) { return struct{}{}, s.Quiet(r.Context()) })
	handle("GET /_sim/requests", func(*http.Request) (any, error) {
		return map[string]any{"stats": s.Stats(), "requests": s.Requests()}, nil
	})
	handle("DELETE /_sim/requests", func(*http.Request) (any, error) {
		s.ResetLog()
		return struct{}{}, nil
	})
	handle("POST /_sim/stories", s.adminStories)
	mux.HandleFunc(payPrefix+"{id}", s.payPage)
	mux.HandleFunc(portalPrefix+"{id}", s.portalPage)
	mux.HandleFunc("/_sim/", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusNotFound)
		// Ignore the error: the client has disconnected.
		_, _ = rw.Write(append(wire.MustJSON(map[string]string{
			"error": fmt.Sprintf("unknown path %s %s: there are %s",
				r.Method, r.URL.Path, strings.Join(patterns, ", ")),
		}), '\n'))
	})
	return mux
}

// body decodes a JSON body into v and refuses unknown fields. An empty body does not change v.
func body(r *http.Request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		// encoding/json has no error type for an unknown field.
		if strings.Contains(err.Error(), "unknown field") {
			err = fmt.Errorf("%w: the fields are %s", err, strings.Join(fieldsOf(reflect.TypeOf(v).Elem()), ", "))
		}
		return fmt.Errorf("read the body: %w", err)
	}
	return nil
}

// fieldsOf returns the JSON names of a struct's fields, with the fields of inner structs in braces.
func fieldsOf(t reflect.Type) []string {
	var list []string
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue // VisibleFields returns its fields too
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner == reflect.TypeFor[Range]() {
			inner = reflect.TypeFor[rangeJSON]()
		}
		if inner.Kind() == reflect.Struct {
			name += "{" + strings.Join(fieldsOf(inner), ", ") + "}"
		}
		list = append(list, name)
	}
	return list
}

// where selects an account and a mode in a body.
type where struct {
	Account string `json:"account"` // a connected account; "" for the platform's own
	Live    *bool  `json:"live"`    // defaults to the mode of the simulator
}

func (s *Sim) at(w where) *Account {
	live := s.cfg.Livemode
	if w.Live != nil {
		live = *w.Live
	}
	if w.Account == "" || w.Account == s.cfg.AccountID {
		return s.InMode(live)
	}
	return s.ConnectInMode(w.Account, live)
}

type adminClock struct {
	Now  time.Time `json:"now"`
	Unix int64     `json:"unix"`
}

func (s *Sim) adminClock() adminClock { return adminClock{s.Now().UTC(), s.Now().Unix()} }

// adminState returns one customer's state, or the clock and the newest customers.
func (s *Sim) adminState(r *http.Request) (any, error) {
	q := r.URL.Query()
	id := q.Get("customer")
	if id == "" {
		const most = 1000
		all := s.Customers()
		out := map[string]any{"clock": s.adminClock(), "customers": len(all)}
		if len(all) > most {
			all = all[len(all)-most:]
		}
		rows := make([]map[string]any, 0, len(all))
		for _, c := range all {
			rows = append(rows, map[string]any{"id": c.ID, "account": c.Account, "live": c.Live, "deleted": c.Deleted})
		}
		out["newest"] = rows
		return out, nil
	}
	w := where{Account: q.Get("account")}
	if raw := q.Get("live"); raw != "" {
		live, err := strconv.ParseBool(raw)
		if err != nil {
			return nil, fmt.Errorf("live: %w", err)
		}
		w.Live = &live
	}
	t, ok := s.at(w).Truth(id)
	if !ok {
		return nil, fmt.Errorf("no such customer: %q", id)
	}
	return map[string]any{
		"customer": t.CustomerJSON, "subscriptions": t.SubscriptionsJSON, "entitlements": t.Entitlements,
	}, nil
}

func (s *Sim) adminCatalog(r *http.Request) (any, error) {
	in := struct {
		where
		Product    string   `json:"product"`
		Name       string   `json:"name"`
		Features   []string `json:"features"`
		Price      string   `json:"price"`
		LookupKey  string   `json:"lookup_key"`
		UnitAmount int64    `json:"unit_amount"`
		Interval   string   `json:"interval"`
	}{}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	a := s.at(in.where)
	if in.Product == "" {
		return struct{}{}, a.DemoCatalog()
	}
	if _, err := a.CreateProduct(ProductParams{ID: in.Product, Name: in.Name, Features: in.Features}); err != nil {
		return nil, err
	}
	price, err := a.CreatePrice(PriceParams{
		ID: in.Price, Product: in.Product, LookupKey: in.LookupKey, UnitAmount: in.UnitAmount, Interval: in.Interval,
	})
	return map[string]string{"product": in.Product, "price": price}, err
}

func (s *Sim) adminCheckout(r *http.Request) (any, error) {
	in := struct {
		where
		Customer  string            `json:"customer"`
		Email     string            `json:"email"`
		Name      string            `json:"name"`
		Metadata  map[string]string `json:"metadata"`
		Price     string            `json:"price"`
		Quantity  int64             `json:"quantity"`
		TrialDays int               `json:"trial_days"`
		Spread    string            `json:"spread"`
	}{Price: "price_pro_monthly", Spread: "0s"}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	spread, err := time.ParseDuration(in.Spread)
	if err != nil {
		return nil, fmt.Errorf("spread: %w", err)
	}
	a := s.at(in.where)
	if err := a.DemoCatalog(); err != nil {
		return nil, err
	}
	c, err := a.CheckoutOver(r.Context(), CheckoutParams{
		Customer: in.Customer, Email: in.Email, Name: in.Name, Metadata: in.Metadata, Price: in.Price,
		Quantity: in.Quantity, TrialDays: in.TrialDays,
	}, spread)
	return map[string]string{"customer": c.Customer, "subscription": c.Subscription, "session": c.Session}, err
}

// adminAct runs one action on a customer, a subscription or a payment method.
func (s *Sim) adminAct(r *http.Request) (any, error) {
	in := struct {
		where
		Do       string            `json:"do"`
		ID       string            `json:"id"` // of the customer, subscription or payment method
		Price    string            `json:"price"`
		Status   string            `json:"status"`
		Metadata map[string]string `json:"metadata"`
		At       int64             `json:"at"` // unix seconds
	}{}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	a := s.at(in.where)
	acts := map[string]func() error{
		"cancel":                func() error { return a.Cancel(in.ID) },
		"cancel_at_period_end":  func() error { return a.CancelAtPeriodEnd(in.ID) },
		"cancel_at":             func() error { return a.CancelAt(in.ID, time.Unix(in.At, 0)) },
		"undo_cancel":           func() error { return a.UndoCancel(in.ID) },
		"resume":                func() error { return a.Resume(in.ID) },
		"change_price":          func() error { return a.ChangePrice(in.ID, in.Price) },
		"set_status":            func() error { return a.SetStatus(in.ID, in.Status) },
		"pay_invoice":           func() error { return a.PayInvoice(in.ID) },
		"update_customer":       func() error { return a.UpdateCustomer(in.ID, in.Metadata) },
		"delete_customer":       func() error { return a.DeleteCustomer(in.ID) },
		"fail_payments":         func() error { return a.FailPayments(in.ID) },
		"recover_payments":      func() error { return a.RecoverPayments(in.ID) },
		"detach_payment_method": func() error { return a.DetachPaymentMethod(in.ID) },
	}
	act := acts[in.Do]
	if act == nil {
		names := make([]string, 0, len(acts))
		for name := range acts {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("do %q: want one of %v", in.Do, names)
	}
	return struct{}{}, act()
}

func (s *Sim) adminAdvance(r *http.Request) (any, error) {
	in := struct {
		Advance string `json:"advance"`
	}{}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(in.Advance)
	if err != nil || d < 0 {
		return nil, fmt.Errorf("advance %q: want a duration such as 720h", in.Advance)
	}
	s.Advance(d)
	return s.adminClock(), nil
}

func (s *Sim) adminFaults(r *http.Request) (any, error) {
	var f Faults
	if err := body(r, &f); err != nil {
		return nil, err
	}
	s.SetFaults(f)
	return f, nil
}

func (s *Sim) adminWebhook(r *http.Request) (any, error) {
	var w WebhookEndpoint
	if err := body(r, &w); err != nil {
		return nil, err
	}
	if w.URL == "" {
		return nil, errors.New("url: required")
	}
	return s.AddWebhookEndpoint(w), nil
}

func (s *Sim) adminStories(r *http.Request) (any, error) {
	in := struct {
		Name string `json:"name"` // one story; empty plays all
		Pace string `json:"pace"`
	}{Pace: "0s"}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	pace, err := time.ParseDuration(in.Pace)
	if err != nil {
		return nil, fmt.Errorf("pace: %w", err)
	}
	stories := Stories()
	if in.Name != "" {
		stories = slices.DeleteFunc(stories, func(st Story) bool { return st.Name != in.Name })
		if len(stories) == 0 {
			return nil, fmt.Errorf("no such story: %q", in.Name)
		}
	}
	lines := []map[string]string{}
	err = s.RunStories(r.Context(), stories, pace, func(p Progress) {
		lines = append(lines, map[string]string{
			"story": p.Story, "customer": p.Customer, "account": p.Account,
			"time": p.Time.UTC().Format(time.RFC3339), "say": p.Say,
		})
	})
	return map[string]any{"told": lines}, err
}
