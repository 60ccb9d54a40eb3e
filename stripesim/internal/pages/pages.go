// Package pages has the simulator's web pages: the payment page of a checkout session, and the
// customer portal. They are plain HTML forms, for a person and for a test.
package pages

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

// A Payment is the payment page.
type Payment struct {
	Title, Amount, Interval string
	Quantity                int64
	TrialDays               int64
	Email                   string
	CancelURL               string
	// Declined reports that the card was declined a moment ago.
	Declined bool
	// Closed says why nothing can be paid: the session is complete or expired.
	Closed string
}

// A Portal is the customer portal.
type Portal struct {
	Customer, ReturnURL string
	Card                string // brand and last four digits, or empty
	Subscriptions       []Subscription
	// Problem is what the last action failed with.
	Problem string
}

// A Subscription is one that has not ended.
type Subscription struct {
	ID, Item, Title, Amount, Interval, Status string
	Quantity                                  int64
	Ends                                      string // the date of its end, if it was cancelled
	Renews                                    string
}

//go:embed pages.html
var text string

var templates = template.Must(template.New("").Parse(text))

// WritePayment renders the payment page.
func WritePayment(w io.Writer, p Payment) error { return templates.ExecuteTemplate(w, "payment", p) }

// WritePortal renders the portal.
func WritePortal(w io.Writer, p Portal) error { return templates.ExecuteTemplate(w, "portal", p) }

// Money returns an amount of cents as text.
func Money(amount int64, currency string) string {
	return fmt.Sprintf("%d.%02d %s", amount/100, amount%100, currency)
}
