package dev

import (
	"context"
	"fmt"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/follow"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// addresses are where the parts of a run listen, as URLs.
type addresses struct{ webhooks, nats, gateway, console, shop, metrics string }

// banner prints how to reach the parts, in at most eight lines of 80 columns with the empty one at the
// end. The rest follows at the end, or at once with verbose.
func (d *dev) banner() {
	stripe := "your Stripe account (" + string(d.Syncer.Mode) + " mode)"
	if d.stripe != nil {
		stripe = "simulated Stripe " + d.stripe.URL
	}
	d.say.Titled("entitled dev", "all in one process, on "+stripe)
	if d.stripe == nil {
		d.say.Line("send events", "stripe listen --forward-to "+d.at.webhooks)
	}
	d.say.Row("gateway", d.at.gateway)
	d.say.Row("console", d.at.console)
	if d.stripe != nil {
		d.say.Row("shop", d.at.shop)
		d.say.Line("try", d.command("get", d.someone()))
	} else {
		d.say.Line("try", d.command("sync", d.someone()))
	}
	if d.Verbose {
		d.rest()
	} else {
		d.say.Row("more", "other addresses, curl lines: at the end, or now with --verbose")
	}
	if !d.JSON {
		d.say.Note(follow.Legend)
	}
	fmt.Fprintln(d.say)
}

// rest prints what a first look does not need.
func (d *dev) rest() {
	for i, line := range tell.CurlLines(d.key, d.at.gateway, d.someone(), "export") {
		d.say.Line([]string{"ask", "", ""}[i], line)
	}
	d.say.Line("look closer", d.command("explain", d.someone()))
	d.say.Line("", "nats kv watch"+d.elsewhere("--server")+" "+entitlement.Bucket(d.Syncer.Mode))
	d.say.Row("NATS", d.at.nats)
	d.say.Row("metrics", d.at.metrics)
	if d.stripe != nil {
		d.say.Row("webhooks", d.at.webhooks)
		d.say.Line("check it", "STRIPE_API_BASE="+d.stripe.URL+" \\")
		d.say.Line("", "STRIPE_API_KEY="+SimulatedKey+" \\")
		d.say.Line("", d.otherSettings()+d.command("doctor"))
		d.say.Row("", "Set the same for backfill, sweep, recover and explain --check. Without STRIPE_API_BASE "+
			"they read api.stripe.com.")
		d.say.Row("time", "The customers of stories live through weeks in seconds, so their dates run ahead; the "+
			"shop's live by the time of day. Webhooks arrive out of order, and some arrive twice. A duration in "+
			"a line is from the webhook to the snapshot. A customer that changes often is read at "+
			"intervals of up to a few seconds.")
	} else {
		d.say.Line("check it", d.command("doctor"))
		d.say.Row("endpoint", "A webhook endpoint of your account works too, through a tunnel. "+
			"STRIPE_WEBHOOK_SECRETS must hold the signing secret of the sender.")
	}
	d.say.Row("data", d.dataNote())
}

// command is a command of this program, to copy, that finds the embedded nats-server.
func (d *dev) command(name string, args ...string) string {
	return strings.Join(append([]string{d.Self + " " + name + d.elsewhere("--nats-url")}, args...), " ")
}

// elsewhere is a flag with the address of the nats-server; empty if it is the usual one.
func (d *dev) elsewhere(flag string) string {
	if d.at.nats != defaultNATS {
		return " " + flag + " " + d.at.nats
	}
	return ""
}

// otherSettings are what the commands that read Stripe must have as the syncer has it, in front of
// one of them.
func (d *dev) otherSettings() string {
	return fmt.Sprintf("STRIPE_RATE=%g ", d.Syncer.Rate)
}

const defaultNATS = "nats://127.0.0.1:4222"

// someone is a customer to ask about.
func (d *dev) someone() string {
	if d.stripe == nil {
		return "cus_…"
	}
	return (&Simulation{run: d.stripe.run, round: 1}).customerID("amelia")
}

// dataNote says where the streams are and what becomes of them. A simulated Stripe keeps nothing.
func (d *dev) dataNote() string {
	switch {
	case !d.store.kept:
		return "temporary, removed at the end; --data DIR keeps it"
	case d.stripe == nil:
		return d.store.dir + ", kept"
	case d.store.run == 1:
		return d.store.dir + ", kept; the simulated Stripe forgets its customers at the end"
	}
	return fmt.Sprintf("%s, run %d; the simulated Stripe has forgotten the customers of earlier runs, so a sync "+
		"of one removes its access", d.store.dir, d.store.run)
}

// summary prints the counts of the run. checked is the number of customers that the check compared,
// failed its error.
func (d *dev) summary(ctx context.Context, checked int, failed error) error {
	// NATS, which is asked here, is in this process.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), countWithin)
	defer cancel()
	t, err := d.tally.totals(ctx)
	if err != nil {
		return err
	}
	out := d.say
	fmt.Fprintln(out)
	if !d.Verbose {
		out.Note("While it runs:")
		d.rest()
		fmt.Fprintln(out)
	}
	out.Titled(tell.Short(time.Since(d.began)), strings.Join([]string{
		tell.Count(t.customers, "customer"), tell.Count(t.changes, "change"), tell.Count(t.webhooks, "webhook"),
		tell.Count(t.requests, "request") + " to Stripe",
	}, " · "))
	if t.timed > 0 {
		fmt.Fprintf(out, "webhook → snapshot  p50 %s, p99 %s\n", tell.Short(t.p50), tell.Short(t.p99))
	}
	switch {
	case failed != nil:
		fmt.Fprintf(out, "%s\n", out.Paint(term.Denies, "✗ "+term.Printable(failed.Error())))
	case checked > 0:
		fmt.Fprintf(out, "%s every snapshot equals what the simulator holds (%s read "+
			"again)\n", out.Paint(term.Grants, "✓"), tell.Count(checked, "customer"))
	}
	return nil
}

// countWithin bounds the count of the webhooks.
const countWithin = 5 * time.Second
