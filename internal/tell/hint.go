package tell

import (
	"strings"

	"entitled/internal/term"
)

// A Hinted is an error with its next step.
type Hinted struct {
	Err error
	// Hint is a phrase: no capital, no full stop.
	Hint string
}

// Error is the error without the hint.
func (h Hinted) Error() string { return h.Err.Error() }

// Unwrap is the error without the hint.
func (h Hinted) Unwrap() error { return h.Err }

// Failure prints the error of a command, and its next steps.
func Failure(out term.Terminal, command string, err error, hints ...string) {
	var b strings.Builder
	b.WriteString(command + ": " + err.Error() + "\n")
	for _, hint := range hints {
		b.WriteString("  hint: " + hint + "\n")
	}
	out.Text(term.Normal, b.String())
}

// WithHint adds the next step to an error, as a phrase.
func WithHint(err error, hint string) error { return Hinted{Err: err, Hint: hint} }
