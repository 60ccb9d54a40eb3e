package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entitled/internal/syncer"
)

type recoverCmd struct {
	Account string `placeholder:"ACCT" help:"A connected account, acct_…, instead of your own. The syncers' job looks at your own only."`
	Since   string `narrows:"" placeholder:"TIME" help:"Compare from then on, instead of from where the last run ended: ${times}."`
	JSON    bool   `name:"json" help:"Print the counts as JSON."`
	stripeFlags
}

// Help is shown below the usage.
func (recoverCmd) Help() string {
	return `Compares Stripe's list of events with the log, and stores those that no webhook brought, byte for byte, as if it had. Their customers are
marked in the lane for bulk work. The syncers do it every 5 minutes; by hand it is for a connected account, or after a long outage.

	entitled recover
	entitled recover --since 3d

Stripe lists the events of 30 days. When that is too little, this compares those and ends with 1, and entitled backfill reads the state itself. The key needs permission to read events.`
}

// Run compares once.
func (c recoverCmd) Run(ctx context.Context, s *session) error {
	since, err := pastArg("--since", c.Since, s.now())
	if err != nil {
		return usageErrors(err)
	}
	return c.operate(ctx, s, false, func(o *syncer.Operator) error {
		r, err := o.Recover(ctx, c.Account, since)
		if err != nil {
			return ended(ctx, count(r.Recovered, "event"), err, "say it again: what is stored already is not stored twice")
		}
		if c.JSON {
			return errors.Join(s.printReport(r), gap(r, since))
		}
		if r.Since == 0 {
			fmt.Fprintf(s.out, "%s nothing to compare: the log has no event of this account yet; from now on it is looked for\n", s.out.paint(grants, "✓"))
			return gap(r, since)
		}
		fmt.Fprintf(s.out, "%s %s compared since %s · %s\n", s.out.paint(grants, "✓"), count(r.Listed, "event"),
			time.Unix(r.Since, 0).UTC().Format(time.RFC3339), count(r.Requests, "request"))
		fmt.Fprintf(s.out, "  %s recovered, %d of which marked a customer\n", count(r.Recovered, "event"), r.Marked)
		if r.Forgotten > 0 {
			fmt.Fprintf(s.out, "  %s left out: of customers who were forgotten since\n", count(r.Forgotten, "event"))
		}
		return gap(r, since)
	})
}

// gap says what was not compared. As in the syncers' job, what Stripe does list is compared first.
func gap(r syncer.RecoverReport, since time.Time) error {
	if !r.Gap {
		return nil
	}
	why := "the run before was more than 30 days ago"
	if !since.IsZero() {
		why = "--since " + clock(since) + " is not covered"
	}
	return withHint(errors.New(why+": Stripe lists the events of the last 30 days only, and older ones were not compared"),
		"run `entitled backfill`: it reads the state itself, whatever events led to it")
}
