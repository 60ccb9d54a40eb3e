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
		s := StateOf(f, now)
		fmt.Fprintf(out, "%s %s  %s\n", out.Paint(s.Tone, s.Mark),
			out.Paint(term.Strong, term.Printable(f.Customer.String())), out.Paint(s.Tone, s.State))
		if f.Unreadable {
			continue
		}
		out.Row("reason", f.Error)
		out.Row("first, last", Clock(f.FirstAt)+", "+Clock(f.LastAt))
		out.Row("cause", Because(f.Cause.Trigger, f.Cause.Type, f.Cause.Event))
	}
}

// A FailingState says in words how a customer fails.
type FailingState struct {
	Mark, State string
	Tone        term.Tone
}

// StateOf returns the state of a customer whose syncs fail.
func StateOf(f audit.Failing, now time.Time) FailingState {
	switch {
	case f.ParkedAt != nil:
		return FailingState{"✗", "parked " + Since(*f.ParkedAt, now) + " after " + Count(f.Attempts, "attempt"),
			term.Denies}
	case f.Unreadable:
		return FailingState{"?", "the entry cannot be read: the customer's next sync replaces it", term.Ending}
	}
	return FailingState{"~", "failing for " + Ago(now.Sub(f.FirstAt)) + ", " + Count(f.Attempts, "attempt") +
		", retried automatically", term.Ending}
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
