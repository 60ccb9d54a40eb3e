package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/sweep"
	"entitled/internal/syncer"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type backfillCmd struct {
	Account string `placeholder:"ACCT" help:"A connected account, acct_…, instead of your own."`
	Restart bool   `help:"Start over, even if an interrupted backfill could continue."`
	JSON    bool   `name:"json" help:"Print the counts as JSON."`
	stripeFlags
}

// Help is shown below the usage.
func (backfillCmd) Help() string {
	return `Reads all subscriptions of the account, 100 a request, and writes each snapshot that is
missing or differs. Webhooks and syncers may run beside it: it takes from STRIPE_RATE only what
they leave, and a customer that changes meanwhile is left to its own sync. Killed or interrupted,
it continues if it is started again within 6 hours, unless a customer that it had read was
forgotten.

	entitled backfill
	entitled backfill --account acct_1032D82eZvKYlo2C

Where Stripe's active entitlements are read, which takes a request a customer, it only marks
customers that differ or have none read yet, and the syncers read them one by one.`
}

// Run reads the account and writes.
func (b backfillCmd) Run(ctx context.Context, s *command.Session) error {
	return b.operate(ctx, s, true, func(o *syncer.Operator) error {
		show, end := sweepProgress(s, "reading subscriptions")
		report, err := o.Backfill(ctx, sweep.Options{Account: b.Account, Restart: b.Restart, Progress: show})
		end()
		if err != nil && !errors.Is(err, sweep.ErrUnwritten) {
			again := "start it again: it continues there; --restart starts over"
			if errors.Is(err, sweep.ErrCheckpointGone) {
				again = "start it again: it reads everything, and writes the snapshots that are missing or differ"
			}
			return ended(ctx, tell.Count(report.Pages, "page")+" of "+
				tell.Count(report.Subscriptions, "subscription"), err, again)
		}
		if b.JSON {
			return errors.Join(s.Encode(report), err)
		}
		tell.Sweep(s.Out, report)
		return err
	})
}

type sweepCmd struct {
	Account string `placeholder:"ACCT" help:"A connected account, acct_…, instead of your own."`
	JSON    bool   `name:"json" help:"Print the counts as JSON."`
	stripeFlags
}

// Help is shown below the usage.
func (sweepCmd) Help() string {
	return `Reads all subscriptions of the account, 100 a request, and compares them with the bucket.
It writes no snapshot. A customer that differs and has no pending sync is drift; it is marked for a
sync in the lane for bulk work. Where Stripe's active entitlements are read, a customer that has
none read yet is marked too, and is no drift. The syncers do the same every night at 03:00 UTC.

	entitled sweep
	entitled sweep --json | jq .drift`
}

// Run reads the account and compares.
func (c sweepCmd) Run(ctx context.Context, s *command.Session) error {
	return c.operate(ctx, s, false, func(o *syncer.Operator) error {
		show, end := sweepProgress(s, "comparing subscriptions")
		report, err := o.Sweep(ctx, sweep.Options{Account: c.Account, Progress: show})
		end()
		if err != nil {
			return ended(ctx, tell.Count(report.Pages, "page"), err, "run it again: the marked customers are "+
				"synced anyway")
		}
		if c.JSON {
			return s.Encode(report)
		}
		tell.Sweep(s.Out, report)
		return nil
	})
}

// sweepProgress shows how far a sweep is, on a terminal. Stripe does not count: the first sweep of
// an account has no end in sight, later ones expect what the one before found.
func sweepProgress(s *command.Session, what string) (show func(sweep.Report), end func()) {
	var b *term.Bar
	resumed := false
	return func(r sweep.Report) {
		if r.Resumed > 0 && !resumed {
			resumed = true
			s.Err.Note(fmt.Sprintf("continuing the run of %s, which has read %s; --restart "+
				"starts over", tell.Clock(r.Began), tell.Count(r.Resumed, "page")))
		}
		if b == nil {
			b = term.NewBar(s.Err, cmp.Or(int64(r.Expected), -1), what, "subscriptions")
		}
		if r.Unread > 0 {
			b.Describe(fmt.Sprintf("%s, %d without features", what, r.Unread))
		}
		b.Set(int64(r.Subscriptions))
	}, func() { b.End() }
}
