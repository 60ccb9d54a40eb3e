package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/repair"
	"entitled/internal/syncer"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type recoverCmd struct {
	Account string `placeholder:"ACCT" help:"A connected account, acct_…, instead of your own. The syncers' job looks at your own only."`
	Since   string `narrows:"" placeholder:"TIME" help:"Compare from this time on, instead of from the end of the last run: ${times}."`
	JSON    bool   `name:"json" help:"Print the counts as JSON."`
	stripeFlags
}

// Help is shown below the usage.
func (recoverCmd) Help() string {
	return `Compares Stripe's list of events with the log, and stores the missing ones, byte for byte,
as a webhook would. Their customers are marked in the lane for bulk work. The syncers do it every 5
minutes. Run it by hand for a connected account, or after a long outage.

	entitled recover
	entitled recover --since 3d

Stripe lists the events of 30 days. If that is too little, the command compares those and ends with
1; entitled backfill reads the state itself. The key needs permission to read events.`
}

// Run compares once.
func (c recoverCmd) Run(ctx context.Context, s *command.Session) error {
	since, err := tell.PastArg("--since", c.Since, s.Now())
	if err != nil {
		return command.UsageErrors(err)
	}
	return c.operate(ctx, s, false, func(o *syncer.Operator) error {
		r, err := o.Recover(ctx, c.Account, since)
		if err != nil {
			return ended(ctx, tell.Count(r.Recovered, "event"), err, "run it again: it stores no event twice")
		}
		if c.JSON {
			return errors.Join(s.Encode(r), gap(r, since))
		}
		if r.Since == 0 {
			fmt.Fprintf(s.Out, "%s nothing to compare: the log has no event of this account yet; later runs "+
				"compare from now on\n", s.Out.Paint(term.Grants, "✓"))
			return gap(r, since)
		}
		fmt.Fprintf(s.Out, "%s %s compared since %s "+
			"· %s\n", s.Out.Paint(term.Grants, "✓"), tell.Count(r.Listed, "event"),
			time.Unix(r.Since, 0).UTC().Format(time.RFC3339), tell.Count(r.Requests, "request"))
		fmt.Fprintf(s.Out, "  %s recovered, %d of which marked a "+
			"customer\n", tell.Count(r.Recovered, "event"), r.Marked)
		if r.Forgotten > 0 {
			fmt.Fprintf(s.Out, "  %s left out, because their customers were "+
				"forgotten\n", tell.Count(r.Forgotten, "event"))
		}
		return gap(r, since)
	})
}

// gap says what was not compared. As in the syncers' job, what Stripe does list is compared first.
func gap(r repair.RecoverReport, since time.Time) error {
	if !r.Gap {
		return nil
	}
	why := "the run before was more than 30 days ago"
	if !since.IsZero() {
		why = "--since " + tell.Clock(since) + " is not covered"
	}
	return tell.WithHint(errors.New(why+": Stripe lists the events of the last 30 days only, and older ones "+
		"were not compared"),
		"run `entitled backfill`: it reads the state itself, without events")
}
