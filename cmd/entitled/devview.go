package main

import (
	"context"
	"fmt"
	"strings"

	"entitled/entitlement"
	"entitled/internal/ingest"
)

// banner says what runs and how to reach it.
func (d *dev) banner() {
	v := view{d.say}
	mode := d.plan.syncer.Mode
	what := "the whole pipeline in this process, on a simulated Stripe"
	if d.sim == nil {
		what = "the whole pipeline in this process, on your Stripe account (" + string(mode) + " mode)"
	}
	d.say.titled("entitled dev", what)
	fmt.Fprintln(d.say)

	webhooks := "http://" + d.pipeline.public.Addr().String() + ingest.Path
	natsURL := d.pipeline.nats.ClientURL()
	flag := ""
	if natsURL != defaultNATS {
		flag = " --nats-url " + natsURL
	}
	v.row("webhooks", webhooks)
	v.row("NATS", natsURL)
	v.row("metrics", "http://"+d.pipeline.admin.Addr().String()+"/metrics")
	if d.sim != nil {
		v.row("Stripe", d.sim.url+" (simulated, answers at once)")
	} else {
		v.row("Stripe", d.plan.syncer.Stripe.Base)
	}
	if d.store.kept {
		v.row("data", d.store.dir+d.keptNote())
	} else {
		v.row("data", "thrown away at the end; --data DIR keeps it")
	}
	fmt.Fprintln(d.say)
	who := "cus_…"
	if d.sim != nil {
		who = d.firstCustomer()
		v.line("try", d.Self+" get"+flag+" "+who)
	} else {
		v.line("send events", "stripe listen --forward-to "+webhooks)
		v.row("", "or point a webhook endpoint of your account here through a tunnel; the signing secret of either belongs in STRIPE_WEBHOOK_SECRETS")
		v.line("try", d.Self+" sync"+flag+" "+who)
	}
	v.line("", d.Self+" explain"+flag+" "+who)
	if d.sim == nil {
		v.line("", d.Self+" doctor"+flag)
	}
	server := ""
	if flag != "" {
		server = " --server " + natsURL
	}
	v.line("", "nats kv watch"+server+" "+entitlement.Bucket(mode))
	if d.sim != nil {
		v.line("with Stripe", "STRIPE_API_BASE="+d.sim.url+" \\")
		v.line("", "STRIPE_API_KEY="+simulatedKey+" FEATURES="+simulatedFeatures+" \\")
		v.line("", d.otherSettings()+d.Self+" doctor"+flag)
		v.row("", "and so backfill, sweep, recover, explain --check: without it they ask api.stripe.com")
	}
	fmt.Fprintln(d.say)
	if d.sim != nil {
		d.say.note("Its customers live through weeks in seconds, so simulated time runs ahead. Webhooks come out of order and some twice; the time in a line is from webhook to snapshot. Whoever changes again and again is read at intervals, a few seconds at most.")
	}
	if !d.cmd.JSON {
		d.say.note(legend)
	}
	fmt.Fprintln(d.say)
}

// otherSettings are what the commands that read Stripe must have as the syncer has it, in front of one of them.
func (d *dev) otherSettings() string {
	text := fmt.Sprintf("STRIPE_RATE=%g ", d.plan.syncer.Rate)
	if grace := d.cmd.Syncer.Grace; grace != "72h" {
		text += "PAST_DUE_GRACE=" + grace + " "
	}
	return text
}

const defaultNATS = "nats://127.0.0.1:4222"

func (d *dev) firstCustomer() string {
	return (&simulation{run: d.sim.run, round: 1}).customerID("amelia")
}

// keptNote says what a kept directory means with a simulator, which keeps nothing.
func (d *dev) keptNote() string {
	switch {
	case d.sim == nil:
		return ", kept"
	case d.store.run == 1:
		return ", kept; only the simulated Stripe forgets"
	}
	return fmt.Sprintf(", run %d; the simulated Stripe has forgotten the customers of former runs, so whoever of them is looked at again is gone", d.store.run)
}

// summary is the end of it.
func (d *dev) summary(ctx context.Context, checked int, failed error) error {
	// What is asked for here is asked of this process.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	t, err := d.tally.totals(ctx)
	if err != nil {
		return err
	}
	out := d.say
	fmt.Fprintln(out)
	out.titled(short(d.now().Sub(d.began)), strings.Join([]string{
		count(t.customers, "customer"), count(t.changes, "change"), count(t.webhooks, "webhook"), count(t.requests, "request") + " to Stripe",
	}, " · "))
	if t.timed > 0 {
		fmt.Fprintf(out, "webhook → snapshot  p50 %s, p99 %s\n", short(t.p50), short(t.p99))
	}
	switch {
	case failed != nil:
		fmt.Fprintf(out, "%s\n", out.paint(denies, "✗ "+printable(failed.Error())))
	case checked > 0:
		fmt.Fprintf(out, "%s every snapshot equals what the simulator holds (%s read again)\n", out.paint(grants, "✓"), count(checked, "customer"))
	}
	return nil
}
