package tell

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/term"
)

// Slice names a part of the log of events.
func Slice(s audit.Slice) string {
	parts := []string{string(s.Mode) + " mode"}
	if s.Account != "" {
		parts = append(parts, "account "+s.Account)
	}
	if len(s.Customers) > 0 {
		parts = append(parts, strings.Join(s.Customers, ", "))
	}
	if len(s.Types) > 0 {
		parts = append(parts, strings.Join(s.Types, ","))
	}
	if !s.Since.IsZero() {
		parts = append(parts, "from "+s.Since.Format("2006-01-02 15:04:05 UTC"))
	}
	if !s.Until.IsZero() {
		parts = append(parts, "until "+s.Until.Format("2006-01-02 15:04:05 UTC"))
	}
	return term.Printable(strings.Join(parts, " · "))
}

// NoEvents says of a slice without events what the log does hold: from first to last, or nothing.
func NoEvents(s audit.Slice, first, last time.Time) string {
	of := string(s.Mode) + " mode"
	switch {
	case len(s.Customers) > 0:
		of = strings.Join(s.Customers, ", ") + " in " + of
	case s.Account != "":
		of = "account " + s.Account + " in " + of
	}
	if of = term.Printable(of); first.IsZero() {
		return "the log holds no event of " + of + ", of any type or time"
	}
	return fmt.Sprintf("the log holds events of %s from %s to %s", of, Clock(first), Clock(last))
}
