// Package pages has the simulator's web pages: the payment page of a checkout session, and the
// customer portal. They are plain HTML forms, for a person and for a test.
package pages

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
)

// A Price is an amount for each unit and interval.
type Price struct {
	Unit               int64 // in cents
	Currency, Interval string
	Quantity           int64
}

// Each is the price of one unit, and Total that of all.
func (p Price) Each() string  { return money(p.Unit, p.Currency) }
func (p Price) Total() string { return money(p.Unit*p.Quantity, p.Currency) }

// A Payment is the payment page.
type Payment struct {
	Price
	Title     string
	TrialDays int64
	Email     string
	CancelURL string
	// Declined reports that the card was declined a moment ago.
	Declined bool
	// Closed says why nothing can be paid: the session is complete or expired.
	Closed string
}

// A Portal is the customer portal.
type Portal struct {
	Name, ReturnURL string
	Card            string // such as "visa ending in 4242", or empty
	Subscriptions   []Subscription
	Now             string // the date by the customer's clock
	// Problem is the error of the last action.
	Problem string
}

// A Subscription is one that has not ended.
type Subscription struct {
	Price
	ID, Item, Title, Status string
	Ends                    string // the date of its end, if it was cancelled
	Renews                  string
}

//go:embed pages.html
var text string

var templates = template.Must(template.New("").Funcs(template.FuncMap{"status": status}).Parse(text))

// WritePayment renders the payment page.
func WritePayment(w io.Writer, p Payment) error { return templates.ExecuteTemplate(w, "payment", p) }

// WritePortal renders the portal.
func WritePortal(w io.Writer, p Portal) error { return templates.ExecuteTemplate(w, "portal", p) }

// SetHeader sets the header of both.
func SetHeader(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "+
		"base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// money returns an amount of cents as text.
func money(amount int64, currency string) string {
	if currency == "usd" {
		return fmt.Sprintf("$%d.%02d", amount/100, amount%100)
	}
	return fmt.Sprintf("%d.%02d %s", amount/100, amount%100, currency)
}

// status returns Stripe's status of a subscription in words.
func status(s string) string {
	if words := map[string]string{"active": "Active", "trialing": "Trial", "past_due": "Past due", "unpaid": "Unpaid",
		"paused": "Paused", "incomplete": "Incomplete"}[s]; words != "" {
		return words
	}
	return s
}
