package tell

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/forget"
	"entitled/internal/stripeevent"
	"entitled/internal/term"
)

// A ForgottenLine is a customer that was erased, for programs.
type ForgottenLine struct {
	Customer    string         `json:"customer"`
	Account     string         `json:"account,omitempty"`
	Mode        string         `json:"mode"`
	ForgottenAt time.Time      `json:"forgotten_at"`
	Erased      forget.Amounts `json:"erased"`
	Left        forget.Amounts `json:"left"`
}

// NewForgottenLine returns the line of a customer.
func NewForgottenLine(c stripeevent.Customer, at time.Time, erased, left forget.Amounts) ForgottenLine {
	return ForgottenLine{c.ID, c.Account, string(c.Mode), at.UTC(), erased, left}
}

// Forgotten prints what was erased.
func Forgotten(out term.Terminal, c stripeevent.Customer, erased forget.Amounts) {
	fmt.Fprintf(out, "%s forgot %s in %s mode: %s\n", out.Paint(term.Grants, "✓"),
		out.Paint(term.Strong, term.Printable(c.String())), c.Mode, Amounts(erased))
	if erased.Pages > 0 {
		fmt.Fprintln(out, out.Paint(term.Faint, "  An unfinished backfill had read it: its pages are "+
			"erased, and it starts over."))
	}
	fmt.Fprintln(out, out.Paint(term.Faint, "  While Stripe has the customer, its next event or the "+
		"nightly sweep brings it"))
	fmt.Fprintln(out, out.Paint(term.Faint, "  back: delete it there first, then forget it again."))
}

// Amounts lists the erased amounts.
func Amounts(e forget.Amounts) string {
	list := []string{
		Count(e.Events, "event"), Count(e.Records, "record"), Count(e.Markers, "marker"),
		strings.Replace(Count(e.Entries, "entry"), "entrys", "entries", 1),
	}
	if e.Pages > 0 {
		list = append(list, Count(e.Pages, "page")+" of an unfinished backfill")
	}
	return strings.Join(list, ", ")
}
