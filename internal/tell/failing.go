package tell

import (
	"fmt"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/term"
)

// Failing lists customers whose syncs fail. all says that the list has those that are retried
// automatically too.
func Failing(out term.Terminal, mode entitlement.Mode, list []audit.Failing, all bool, now time.Time) {
	if len(list) == 0 {
		word := "no customer is parked in " + string(mode) + " mode"
		if all {
			word += ", and no sync fails"
		}
		fmt.Fprintln(out, out.Paint(term.Grants, "✓")+" "+word)
		return
	}
	for _, f := range list {
		mark, state, c := "✗", "", term.Denies
		switch {
		case f.ParkedAt != nil:
			state = "parked " + Since(*f.ParkedAt, now) + " after " + Count(f.Attempts, "attempt")
		case f.Unreadable:
			mark, c = "?", term.Ending
			state = "the entry cannot be read: the customer's next sync replaces it"
		default:
			mark, c = "~", term.Ending
			state = "failing for " + Ago(now.Sub(f.FirstAt)) + ", " + Count(f.Attempts, "attempt") +
				", retried automatically"
		}
		fmt.Fprintf(out, "%s %s  %s\n", out.Paint(c, mark),
			out.Paint(term.Strong, term.Printable(f.Customer.String())), out.Paint(c, state))
		if f.Unreadable {
			continue
		}
		out.Row("reason", f.Error)
		out.Row("first, last", Clock(f.FirstAt)+", "+Clock(f.LastAt))
		out.Row("cause", Because(f.Cause.Trigger, f.Cause.Type, f.Cause.Event))
	}
}

// A FailingLine is a customer whose syncs fail, for programs.
type FailingLine struct {
	Customer string `json:"customer"`
	Account  string `json:"account,omitempty"`
	Mode     string `json:"mode"`
	record.Failure
	// Unreadable is there where the entry is none of a syncer's; nothing of it is shown.
	Unreadable bool `json:"unreadable,omitempty"`
	// Redriven is there when this call marked it again.
	Redriven bool `json:"redriven,omitempty"`
}

// NewFailingLine returns the line of a customer.
func NewFailingLine(f audit.Failing, redriven bool) FailingLine {
	return FailingLine{
		Customer: f.Customer.ID, Account: f.Customer.Account, Mode: string(f.Customer.Mode), Failure: f.Failure,
		Unreadable: f.Unreadable, Redriven: redriven,
	}
}
