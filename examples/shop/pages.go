package shop

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A view is what a template shows.
type view struct {
	Title, Gateway string
	User           user
	Users          []user
	Plans          []plan
	Features       []feature
	Account        account
	Notice         string // above the page
	Thanks         bool
	Problem        string
	Manage         bool // the problem is solved in the portal
}

// show renders a page, or a part of one.
func show(w http.ResponseWriter, status int, name string, v view) error {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // an error means that the client has disconnected
	return nil
}

// A page is seen by users that are logged in. If it returns an error, it has written nothing.
type page func(w http.ResponseWriter, r *http.Request, u user) error

// withUser asks for the user of a session, and shows an error of the page.
func (s *shop) withUser(p page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, ok := s.sessions.of(r)
		if !ok && r.Method == http.MethodGet {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if !ok {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		if err := p(w, r, u); err != nil {
			s.Log.Error("shop", "method", r.Method, "path", r.URL.Path, "err", err)
			v := view{Title: "That did not work", User: u, Problem: "The shop cannot reach its gateway. Try again in a moment."}
			status := http.StatusBadGateway
			if e, ok := errors.AsType[*refusal](err); ok && e.Message != "" {
				status, v.Problem = e.status, strings.ToUpper(e.Message[:1])+e.Message[1:]+"."
				if v.Manage = e.Code == "already_subscribed"; v.Manage {
					v.Problem = "You have a subscription. Change its seats, or cancel it before you buy another plan."
				}
			}
			_ = show(w, status, "problem", v) // its template needs nothing else
		}
	}
}

func (s *shop) users(w http.ResponseWriter, r *http.Request) {
	u, _ := s.sessions.of(r)
	_ = show(w, http.StatusOK, "users", view{Title: "Choose a user", User: u, Users: known}) // needs no gateway
}

func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.PostFormValue("name"))
	u, ok := knownUser(r.PostFormValue("user"))
	switch {
	case ok:
	case name == "" || len(name) > 60:
		http.Error(w, "choose a user, or give a name of at most 60 letters", http.StatusBadRequest)
		return
	default:
		u = newUser(name)
	}
	s.sessions.begin(w, r, u)
	http.Redirect(w, r, "/pricing", http.StatusSeeOther)
}

func (s *shop) logout(w http.ResponseWriter, r *http.Request) {
	s.sessions.end(w, r)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) pricing(w http.ResponseWriter, r *http.Request, u user) error {
	d, err := s.gateway.decision(r.Context(), u)
	if err != nil {
		return err
	}
	return s.showStanding(w, r, d, "pricing", view{Title: "Plans", User: u, Plans: plans})
}

func (s *shop) app(w http.ResponseWriter, r *http.Request, u user) error {
	d, err := s.gateway.decision(r.Context(), u)
	if err != nil {
		return err
	}
	return s.showStanding(w, r, d, "app", view{Title: "Your projects", User: u, Features: features})
}

// success is where Stripe sends the user after paying, often before its webhook comes. The gateway reads the customer
// from Stripe now; which session was paid does not matter.
func (s *shop) success(w http.ResponseWriter, r *http.Request, u user) error {
	d, err := s.gateway.sync(r.Context(), u)
	if err != nil {
		return err
	}
	return s.showStanding(w, r, d, "app", view{Title: "Your projects", User: u, Features: features, Thanks: d.Allowed})
}

// account is the part of the app's page about the subscription; the page asks for it again at each change.
func (s *shop) account(w http.ResponseWriter, r *http.Request, u user) error {
	d, err := s.gateway.decision(r.Context(), u)
	if err != nil {
		return err
	}
	return s.showStanding(w, r, d, "account", view{User: u})
}

// showStanding renders a page that says how the user's subscription stands.
func (s *shop) showStanding(w http.ResponseWriter, r *http.Request, d decision, name string, v view) error {
	renews, err := s.gateway.periodEnd(r.Context(), v.User)
	if err != nil {
		return err
	}
	catalogue, err := s.gateway.catalogue(r.Context(), v.User)
	if err != nil {
		return err
	}
	v.Account, v.Notice, v.Gateway = describe(d, renews), missing(catalogue), s.Gateway
	return show(w, http.StatusOK, name, v)
}

// buy begins a purchase. The gateway makes the customer if there is none, and the payment page if none is open.
func (s *shop) buy(w http.ResponseWriter, r *http.Request, u user) error {
	p, seats := planOf(r.PostFormValue("plan")), 1
	if p.Seats {
		seats, _ = strconv.Atoi(r.PostFormValue("seats")) // 0 is refused below
	}
	if p.LookupKey == "" || seats < 1 || seats > 1000 {
		http.Error(w, "choose a plan, and from 1 to 1000 seats", http.StatusBadRequest)
		return nil
	}
	to, err := s.gateway.checkout(r.Context(), u, map[string]any{"lookup_key": p.LookupKey, "quantity": seats,
		"email": u.Email, "success_url": s.URL + "/success", "cancel_url": s.URL + "/pricing"})
	if err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// manage leads to Stripe's portal, where seats and card are changed, and a subscription is cancelled.
func (s *shop) manage(w http.ResponseWriter, r *http.Request, u user) error {
	to, err := s.gateway.portal(r.Context(), u, s.URL+"/app")
	if err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// export is a feature that a plan grants. The state of the page does not count: the server asks the gateway again.
func (s *shop) export(w http.ResponseWriter, r *http.Request, u user) error {
	may, err := s.gateway.allowed(r.Context(), u, "export")
	if err != nil {
		return err
	}
	if !may {
		return show(w, http.StatusForbidden, "problem", view{Title: "Export", User: u, Problem: "Your plan has no export."})
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="projects.csv"`)
	fmt.Fprint(w, "project,done\nGreenhouse,80%\nPond,20%\n") //nolint:errcheck // the client has disconnected
	return nil
}

// token gives the user's page a token for the user's own customer. The session's cookie names the user, and the request
// is a POST, which no other site can send.
func (s *shop) token(w http.ResponseWriter, r *http.Request, u user) error {
	token, err := s.gateway.token(r.Context(), u)
	if err != nil {
		return err
	}
	fmt.Fprint(w, token) //nolint:errcheck // the client has disconnected
	return nil
}
