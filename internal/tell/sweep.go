package tell

import (
	"fmt"
	"time"

	"entitled/internal/sweep"
	"entitled/internal/term"
)

// Sweep prints what a sweep or a backfill came to.
func Sweep(out term.Terminal, r sweep.Report) {
	took := time.Duration(r.Took * float64(time.Second))
	requests := Count(r.Requests, "request")
	if r.Resumed > 0 {
		requests += " and " + Count(r.Resumed, "page") + " of the run before"
	}
	fmt.Fprintf(out, "%s %s of %s · %s in %s\n", out.Paint(term.Grants, "✓"), Count(r.Customers, "customer"),
		Count(r.Subscriptions, "subscription"), requests, Short(took))
	for _, l := range []struct {
		n    int
		what string
	}{
		{r.Unchanged, "as Stripe has them"},
		{r.Created, "created"},
		{r.Changed, "changed"},
		{r.Deleted, "deleted"},
		{r.Left, "left: another program wrote them meanwhile"},
		{r.Unwritten, "not written: too large for NATS"},
		{r.Marked, "marked: a syncer reads them one by one"},
		{r.Waiting, "already waiting for their sync"},
		{r.Unread, "of these had no features read yet"},
		{r.Unlisted, "have subscriptions here and none in Stripe's list: marked"},
		{r.Drift, "had drifted without an event"},
	} {
		if l.n > 0 {
			fmt.Fprintf(out, "  %s %s\n", term.PadLeft(fmt.Sprint(l.n), 8), l.what)
		}
	}
	for _, c := range r.Drifted {
		fmt.Fprintf(out, "  %s %s\n", term.PadLeft("", 8), c)
	}
	if more := r.Drift - len(r.Drifted); more > 0 {
		fmt.Fprintf(out, "  %s and %s more\n", term.PadLeft("", 8), Count(more, "customer"))
	}
}
