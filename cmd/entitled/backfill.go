package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entitled/internal/syncer"
)

type backfillCmd struct {
	Account string `placeholder:"ACCT" help:"A connected account, acct_…, instead of your own."`
	Restart bool   `help:"Start over, also if an interrupted backfill could go on."`
	JSON    bool   `name:"json" help:"Print the counts as JSON."`
	stripeFlags
}

// Help is shown below the usage.
func (backfillCmd) Help() string {
	return `Reads all subscriptions of the account, 100 a request, and writes the snapshot of every customer that is missing or differs. Webhooks
and syncers may run beside it: it takes from the fleet's STRIPE_RATE only what they leave, and a customer that changes meanwhile is left to its own
sync. Killed or interrupted, it goes on where it was when it is started again within 6 hours, unless a customer was forgotten that it had read.

	entitled backfill
	entitled backfill --account acct_1032D82eZvKYlo2C

With FEATURES=entitlements, which takes a request a customer, it only marks those that differ or whose features were not read
yet, and the syncers read them one by one.`
}

// Run reads the account and writes.
func (b backfillCmd) Run(ctx context.Context, s *session) error {
	return b.operate(ctx, s, true, func(o *syncer.Operator) error {
		show, end := s.sweepProgress("reading subscriptions")
		report, err := o.Backfill(ctx, syncer.SweepOptions{Account: b.Account, Restart: b.Restart, Progress: show})
		end()
		if errors.Is(err, syncer.ErrPolicy) {
			return err
		}
		if err != nil && !errors.Is(err, syncer.ErrUnwritten) {
			again := "start it again: it goes on where it was; with --restart it reads all anew"
			if errors.Is(err, syncer.ErrCheckpointGone) {
				again = "start it again: it reads all anew, and writes what is still missing or differs"
			}
			return ended(ctx, count(report.Pages, "page")+" of "+count(report.Subscriptions, "subscription"), err, again)
		}
		if b.JSON {
			return errors.Join(s.printReport(report), err)
		}
		printSweep(s, report)
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
	return `Reads all subscriptions of the account, 100 a request, and compares them with the bucket. It writes no snapshot: whoever differs, with no
sync on its way, is drift, and is marked for a sync in the lane for bulk work. With FEATURES=entitlements so is each customer whose features
were not read yet, which is no drift. The syncers do the same every night at 03:00 UTC.

	entitled sweep
	entitled sweep --json | jq .drift`
}

// Run reads the account and compares.
func (c sweepCmd) Run(ctx context.Context, s *session) error {
	return c.operate(ctx, s, false, func(o *syncer.Operator) error {
		show, end := s.sweepProgress("comparing subscriptions")
		report, err := o.Sweep(ctx, syncer.SweepOptions{Account: c.Account, Progress: show})
		end()
		if errors.Is(err, syncer.ErrPolicy) {
			return err
		}
		if err != nil {
			return ended(ctx, count(report.Pages, "page"), err, "say it again: what it marked is synced anyway")
		}
		if c.JSON {
			return s.printReport(report)
		}
		printSweep(s, report)
		return nil
	})
}

// sweepProgress shows how far a sweep is, on a terminal. Stripe does not count: the first sweep of an account has no end in
// sight, later ones expect what the one before found.
func (s *session) sweepProgress(what string) (show func(syncer.SweepReport), end func()) {
	var b *bar
	resumed := false
	return func(r syncer.SweepReport) {
		if r.Resumed > 0 && !resumed {
			resumed = true
			s.err.note(fmt.Sprintf("going on with the run of %s, which has read %s; --restart reads all again", clock(r.Began), count(r.Resumed, "page")))
		}
		if b == nil {
			b = newBar(s.err, cmp.Or(int64(r.Expected), -1), what)
		}
		if r.Unread > 0 {
			b.describe(fmt.Sprintf("%s, %d without features", what, r.Unread))
		}
		b.set(int64(r.Subscriptions))
	}, func() { b.end() }
}

func (s *session) printReport(report any) error {
	line, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = fmt.Fprintf(s.out, "%s\n", line)
	return err
}

func printSweep(s *session, r syncer.SweepReport) {
	took := time.Duration(r.Took * float64(time.Second))
	requests := count(r.Requests, "request")
	if r.Resumed > 0 {
		requests += " and " + count(r.Resumed, "page") + " of the run before"
	}
	fmt.Fprintf(s.out, "%s %s of %s · %s in %s\n", s.out.paint(grants, "✓"), count(r.Customers, "customer"),
		count(r.Subscriptions, "subscription"), requests, short(took))
	for _, l := range []struct {
		n    int
		what string
	}{
		{r.Unchanged, "as Stripe has them"},
		{r.Created, "created"},
		{r.Changed, "changed"},
		{r.Deleted, "deleted"},
		{r.Left, "left: written meanwhile by somebody else"},
		{r.Unwritten, "not written: too large for NATS"},
		{r.Marked, "marked: a syncer reads them one by one"},
		{r.Waiting, "waiting for their sync already"},
		{r.Unread, "of these had not had their features read"},
		{r.Unlisted, "have subscriptions here and none in Stripe's list: marked"},
		{r.Drift, "had drifted, and no event had told"},
	} {
		if l.n > 0 {
			fmt.Fprintf(s.out, "  %s %s\n", padLeft(fmt.Sprint(l.n), 8), l.what)
		}
	}
	for _, c := range r.Drifted {
		fmt.Fprintf(s.out, "  %s %s\n", padLeft("", 8), c)
	}
	if more := r.Drift - len(r.Drifted); more > 0 {
		fmt.Fprintf(s.out, "  %s and %s more\n", padLeft("", 8), count(more, "customer"))
	}
}
