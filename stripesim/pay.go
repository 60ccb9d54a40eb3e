package stripesim

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"entitled/stripesim/internal/api"
	"entitled/stripesim/internal/ids"
	"entitled/stripesim/internal/pages"
	"entitled/stripesim/internal/wire"
)

const (
	payPrefix    = "/_sim/pay/"
	portalPrefix = "/_sim/portal/"
)

// PaySession pays an open checkout session, as the buyer does on its page. A card with last four
// digits [DeclinedCard] gets [ErrDeclined]: the session stays open and may be paid with another card,
// and its subscription is incomplete.
func (a *Account) PaySession(id string, card PaymentMethodParams) error {
	var c *Checkout
	err := a.step(func(t *tx) error {
		rec := t.sessions[id]
		switch {
		case rec == nil:
			return fmt.Errorf("no such checkout session: %q", id)
		case rec.get().status != "open":
			return fmt.Errorf("checkout session %s: is %s", id, rec.get().status)
		}
		s := rec.get()
		if buyer := t.custs[s.customer]; buyer != nil {
			a = a.On(buyer.clock)
		}
		if s.checkout.TrialDays > 0 && card.Last4 == DeclinedCard {
			return ErrDeclined // the card is checked before the trial
		}
		c = &Checkout{account: a, params: s.checkout, Customer: s.customer, Session: id}
		c.params.PaymentMethod = &card
		c.steps = []func(t *tx) error{c.arrive, c.attach, c.subscribe, c.finalize, c.pay, c.complete}
		if sub := t.subs[s.sub]; sub != nil && !sub.get().ended() {
			c.Subscription = s.sub
			c.steps = []func(t *tx) error{c.attach, c.payAgain, c.complete}
		}
		return nil
	})
	for more := err == nil; more && err == nil; {
		more, err = c.Next()
	}
	if err != nil {
		return err
	}
	if s, _ := a.Subscription(c.Subscription); s.Status == StatusIncomplete {
		return ErrDeclined
	}
	return nil
}

// payAgain tries the first invoice with another card.
func (c *Checkout) payAgain(t *tx) error {
	rec := t.subs[c.Subscription]
	t.updateSub(rec, func(s *Subscription) { s.DefaultPaymentMethod = c.method })
	return c.pay(t)
}

// settle notes on the session what was paid; c has begun from one.
func (c *Checkout) settle(t *tx, paid bool) {
	rec := t.sessions[c.Session]
	sub := t.subs[c.Subscription].get()
	next := *rec.get()
	next.customer, next.sub, next.invoice = sub.Customer, sub.ID, sub.invoice.id
	next.checkout.Customer = sub.Customer
	rec.set(&next, t.stamp)
	if paid && next.status == "open" {
		t.closeSession(rec, "complete")
	}
}

// findWorld returns the account that has something.
func (s *Sim) findWorld(has func(*world) bool) *world {
	for _, w := range s.allWorlds() {
		w.mu.RLock()
		found := has(w)
		w.mu.RUnlock()
		if found {
			return w
		}
	}
	return nil
}

// payPage serves the payment page of a session; a POST pays it.
func (s *Sim) payPage(rw http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	w := s.findWorld(func(w *world) bool { return w.sessions[id] != nil })
	if w == nil {
		http.Error(rw, "no such checkout session", http.StatusNotFound)
		return
	}
	declined := false
	if r.Method == http.MethodPost {
		err := (&Account{w: w}).PaySession(id, PaymentMethodParams{Last4: r.PostFormValue("card")})
		declined = err == ErrDeclined
		if err == nil {
			w.mu.RLock()
			to := w.sessions[id].get().success
			w.mu.RUnlock()
			to = strings.ReplaceAll(to, "{CHECKOUT_SESSION_ID}", id)
			http.Redirect(rw, r, to, http.StatusSeeOther)
			return
		}
	}
	w.mu.RLock()
	se := w.sessions[id].get()
	price := w.prices[se.checkout.Price].get()
	page := pages.Payment{
		Price: pages.Price{Unit: price.UnitAmount, Currency: price.Currency, Interval: price.Interval,
			Quantity: se.checkout.Quantity},
		Title: w.products[price.Product].get().Name, TrialDays: int64(se.checkout.TrialDays),
		Email: se.checkout.Email, CancelURL: se.cancel, Declined: declined,
	}
	if c := w.custs[se.customer]; c != nil && c.get().Email != "" {
		page.Email = c.get().Email
	}
	w.mu.RUnlock()
	if se.status != "open" {
		page.Closed = "This checkout is " + se.status + "."
	}
	pages.SetHeader(rw.Header())
	if declined {
		rw.WriteHeader(http.StatusPaymentRequired)
	}
	// Ignore the error: the client has disconnected.
	_ = pages.WritePayment(rw, page)
}

// portal is a session of the customer portal.
type portal struct {
	customer, back string
	clock          *Clock
}

func writePortal(t *tx, _ view, q *api.Query) (any, *api.Error) {
	customer := q.Form["customer"]
	if customer == "" {
		return nil, api.BadParam("parameter_missing", "customer", "Missing required param: customer.")
	}
	if _, err := t.living(customer); err != nil {
		return nil, err
	}
	for _, flow := range []string{"subscription_cancel", "subscription_update"} {
		name := "flow_data[" + flow + "][subscription]"
		sub := t.subs[q.Form[name]]
		switch {
		case q.Form["flow_data[type]"] != flow:
		case sub == nil || sub.owner.id != customer || sub.get().ended():
			return nil, api.Missing(http.StatusBadRequest, "subscription", q.Form[name], name)
		}
	}
	switch flow := q.Form["flow_data[type]"]; flow {
	case "", "payment_method_update", "subscription_cancel", "subscription_update":
	default:
		return nil, api.BadParam("", "flow_data[type]", "Invalid flow_data[type]: %s", flow)
	}
	id := ids.New(t.rng, "bps_1", 23)
	t.portals[id] = portal{customer, q.Form["return_url"], t.clock}
	out := &wire.PortalSession{
		ID: id, Object: "billing_portal.session", Configuration: "bpc_1Simulated", Created: t.now, Customer: customer,
		Livemode: t.scope.live, ReturnURL: wire.StrOrNull(q.Form["return_url"]), URL: q.Base + portalPrefix + id,
	}
	t.emit("billing_portal.session.created", out, nil)
	return out, nil
}

// portalPage serves the customer portal; a POST does what a button says.
func (s *Sim) portalPage(rw http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	w := s.findWorld(func(w *world) bool { return w.portals[id] != portal{} })
	if w == nil {
		http.Error(rw, "no such portal session", http.StatusNotFound)
		return
	}
	w.mu.RLock()
	p := w.portals[id]
	w.mu.RUnlock()
	var problem string
	if r.Method == http.MethodPost {
		if err := (&Account{w: w}).portalAct(p, r); err != nil {
			problem = err.Error()
		} else {
			http.Redirect(rw, r, r.URL.Path, http.StatusSeeOther)
			return
		}
	}
	pages.SetHeader(rw.Header())
	if problem != "" {
		rw.WriteHeader(http.StatusBadRequest)
	}
	// Ignore the error: the client has disconnected.
	_ = pages.WritePortal(rw, w.portalView(p, problem))
}

// portalAct does what a button of the portal says, to a subscription of its customer.
func (a *Account) portalAct(p portal, r *http.Request) error {
	sub := r.PostFormValue("subscription")
	do := r.PostFormValue("do")
	s, ok := a.Subscription(sub)
	if do != "card" && (!ok || s.Customer != p.customer) {
		return fmt.Errorf("no such subscription: %q", sub)
	}
	switch do {
	case "cancel":
		return a.Cancel(sub)
	case "cancel_at_period_end":
		return a.CancelAtPeriodEnd(sub)
	case "renew":
		return a.UndoCancel(sub)
	case "quantity":
		var n int64
		if _, err := fmt.Sscan(r.PostFormValue("quantity"), &n); err != nil || n < 1 || n > 999_999 {
			return fmt.Errorf("quantity %q: want a number from 1", r.PostFormValue("quantity"))
		}
		return a.SetQuantity(sub, r.PostFormValue("item"), n)
	case "wait": // until the next invoice has been charged
		p.clock.AdvanceTo(time.Unix(s.CurrentPeriodEnd, 0).Add(max(a.w.sim.cfg.InvoiceDelay, 0) + time.Minute))
		return nil
	case "card":
		return a.updateCard(p.customer, PaymentMethodParams{Last4: r.PostFormValue("card")})
	}
	return fmt.Errorf("unknown button %q", do)
}

// updateCard makes a card the default of the customer and of its subscriptions, and pays what is open.
func (a *Account) updateCard(customer string, card PaymentMethodParams) error {
	err := a.step(func(t *tx) error {
		rec, err := t.customer(customer)
		if err != nil {
			return err
		}
		method := t.attach(rec, card, true)
		for _, sub := range rec.subs {
			if !sub.get().ended() && sub.get().DefaultPaymentMethod != "" {
				t.updateSub(sub, func(s *Subscription) { s.DefaultPaymentMethod = method })
			}
		}
		return nil
	})
	if err != nil || card.Last4 == DeclinedCard {
		return err
	}
	return a.RecoverPayments(customer)
}

func (w *world) portalView(p portal, problem string) pages.Portal {
	w.mu.RLock()
	defer w.mu.RUnlock()
	rec := w.custs[p.customer]
	day := func(u int64) string { return time.Unix(u, 0).UTC().Format("2 January 2006") }
	out := pages.Portal{Name: cmp.Or(rec.get().Email, rec.get().Name, rec.id), ReturnURL: p.back, Problem: problem,
		Now: day(p.clock.Now().Unix())}
	method := rec.get().DefaultPaymentMethod
	for _, sub := range rec.subs {
		s := sub.get()
		if s.ended() {
			continue
		}
		if s.DefaultPaymentMethod != "" {
			method = s.DefaultPaymentMethod
		}
		price := w.prices[s.Items[0].Price].get()
		row := pages.Subscription{
			Price: pages.Price{Unit: price.UnitAmount, Currency: price.Currency, Interval: price.Interval,
				Quantity: s.Items[0].Quantity},
			ID: s.ID, Item: s.Items[0].ID, Title: w.products[price.Product].get().Name, Status: s.Status,
			Renews: day(s.CurrentPeriodEnd),
		}
		if s.CancelAt != 0 {
			row.Ends = day(s.CancelAt)
		}
		out.Subscriptions = append(out.Subscriptions, row)
	}
	if m := w.methods[method]; m != nil {
		out.Card = m.get().Brand + " ending in " + m.get().Last4
	}
	return out
}
