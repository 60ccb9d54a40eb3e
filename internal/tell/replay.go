package tell

import (
	"fmt"

	"entitled/internal/audit"
	"entitled/internal/term"
)

// Replayed is the outcome of a replay, for programs too.
type Replayed struct {
	Events    *uint64 `json:"events,omitempty"` // nil if no events were read
	Customers int     `json:"customers"`
	Marked    int     `json:"marked"`
	DryRun    bool    `json:"dry_run"`
}

// Replay prints the outcome of a replay of a slice.
func Replay(out term.Terminal, done Replayed, slice audit.Slice) {
	found := Count(done.Customers, "customer")
	if done.Events != nil {
		found += " in " + Count(int(*done.Events), "event")
	} else {
		found += " without a snapshot"
	}
	fmt.Fprintf(out, "%s · %s\n", found, out.Paint(term.Faint, Slice(slice)))
	switch {
	case done.Customers == 0:
	case done.DryRun:
		fmt.Fprintln(out, out.Paint(term.Faint, fmt.Sprintf("nothing was marked; without --dry-run this "+
			"causes at least %s to Stripe", Count(done.Customers, "request"))))
	default:
		fmt.Fprintf(out, "%s %s marked in the lane for bulk work: syncers of mode %s read them within STRIPE_RATE\n",
			out.Paint(term.Grants, "✓"), Count(done.Marked, "customer"), slice.Mode)
	}
}
