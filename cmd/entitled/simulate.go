package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"entitled/internal/stripesim"
)

type simulateCmd struct {
	Addr    string        `default:"127.0.0.1:12111" help:"Where it listens. It asks for no key on /_sim/: keep it on loopback."`
	Webhook string        `name:"webhook-url" placeholder:"URL" help:"Where it sends webhooks, for instance http://127.0.0.1:8080/webhooks/stripe. Default: nowhere."`
	Secret  string        `name:"webhook-secret" placeholder:"WHSEC" help:"What it signs them with. Default: one is drawn, and printed."`
	Seed    uint64        `default:"1" help:"Makes ids, faults and the order of webhooks repeatable."`
	Speed   float64       `default:"1" help:"Simulated seconds per second. 0: its clock stands still until POST /_sim/clock moves it."`
	Stories bool          `help:"Let a few customers live through histories, over and over; time jumps ahead with them."`
	Pace    time.Duration `default:"1s" help:"With --stories: time between two things that happen."`
}

// Help is shown below the usage.
func (simulateCmd) Help() string {
	return `A stateful Stripe for tests in any language: point a client of Stripe's at it, steer it over HTTP, and it sends the webhooks that Stripe would.

	entitled simulate --webhook-url http://127.0.0.1:8080/webhooks/stripe

	curl -d '{"customer":"cus_1","price":"price_pro_monthly"}' 127.0.0.1:12111/_sim/checkout
	curl -d '{"advance":"768h"}' 127.0.0.1:12111/_sim/clock
	curl '127.0.0.1:12111/_sim/state?customer=cus_1'
	curl -d '{"latency":{"min":"80ms","max":"230ms"},"error_500":0.1}' 127.0.0.1:12111/_sim/faults

Paths under /_sim/. Bodies and answers are JSON; what is refused is 400 with {"error":…}, which names the fields there are. checkout, act and
catalog also take "account", a connected one, and "live".

	GET  state     ?customer= of one, with &account= and &live=; without it, the newest
	POST checkout  {customer, email, name, metadata, price, quantity, trial_days, spread}
	               all optional; spread, such as "1.5s", is how long it takes
	POST act       {"do":…, "id":…}, id being of
	               a subscription: cancel, cancel_at_period_end, cancel_at {at: unix},
	                 undo_cancel, resume, pay_invoice, change_price {price},
	                 set_status {status}
	               a customer: fail_payments, recover_payments, delete_customer,
	                 update_customer {metadata}
	               a payment method: detach_payment_method
	POST catalog   {} for the demo's, or {product, name, features, price, lookup_key,
	                 unit_amount, interval}
	GET  clock     POST {advance}: "768h"
	GET  faults    POST replaces all of them; {} ends them
	GET  webhooks  endpoints and attempts; POST {url, secrets, connect, livemode,
	                 enabled_types, id} adds an endpoint
	POST quiet     answers when every webhook was taken or given up
	GET  requests  what was asked of it; DELETE forgets that
	POST stories   {name, pace}: plays one, or all

docs/operations.md says what the faults are.`
}

// Run serves until ctx ends.
func (c simulateCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	l, err := listenAt("--addr", c.Addr, c.Addr)
	if err != nil {
		return err
	}
	sim := startSimulation(simulationConfig{seed: c.Seed, listen: l})
	secret := ""
	if c.Webhook != "" {
		secret = sim.deliver(c.Webhook, c.Secret)
	}
	err = sim.DemoCatalog()
	if err == nil {
		c.banner(s.out, sim.url, fromElsewhere(l.Addr()), secret)
		err = c.live(ctx, s, sim)
	}
	return errors.Join(err, sim.stop())
}

func (c simulateCmd) check() error {
	bad := func(err, hint string) error { return usageError{hinted{errors.New(err), hint}} }
	if c.Webhook != "" {
		if u, err := url.Parse(c.Webhook); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return bad(fmt.Sprintf("--webhook-url %q: not a URL", c.Webhook), "like http://127.0.0.1:8080/webhooks/stripe")
		}
	}
	switch {
	case c.Webhook == "" && c.Secret != "":
		return bad("--webhook-secret without --webhook-url: there is nothing to sign", "say where webhooks go with --webhook-url")
	case c.Speed < 0:
		return bad(fmt.Sprintf("--speed %v: time does not go back", c.Speed), "0 or more")
	}
	return notNegative("--pace", c.Pace)
}

// fromElsewhere is how other machines and containers reach a listener that listens everywhere, "" for any other.
func fromElsewhere(at net.Addr) string {
	host, err := os.Hostname()
	if local := localAddr(at); err == nil && local != at.String() {
		_, port, _ := net.SplitHostPort(local)
		return "http://" + net.JoinHostPort(host, port)
	}
	return ""
}

func (c simulateCmd) banner(out terminal, url, elsewhere, secret string) {
	v := view{out}
	fmt.Fprintf(out, "%s  %s\n\n", out.paint(strong, "simulated Stripe"), url)
	v.line("your program", "STRIPE_API_BASE="+url)
	if elsewhere != "" {
		v.line("elsewhere", "STRIPE_API_BASE="+elsewhere)
	}
	v.line("", "STRIPE_API_KEY="+simulatedKey+" (any sk_test_… or rk_test_… will do)")
	if secret != "" {
		v.line("", "STRIPE_WEBHOOK_SECRETS="+secret)
		v.row("webhooks to", c.Webhook)
	} else {
		v.row("webhooks to", "nobody; --webhook-url sends them")
	}
	v.row("prices", "price_starter_monthly price_pro_monthly price_team_monthly")
	v.line("steer it", "curl -d '{\"customer\":\"cus_1\"}' "+url+"/_sim/checkout")
	v.row("", "entitled simulate --help has more")
	fmt.Fprintln(out)
}

// live moves the clock, or plays the stories, until ctx ends.
func (c simulateCmd) live(ctx context.Context, s *session, sim *simulation) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticking := make(chan struct{})
	go func() { // live waits for it
		defer close(ticking)
		if c.Speed > 0 {
			sim.Live(ctx, c.Speed)
		}
	}()
	defer func() { cancel(); <-ticking }()
	if c.Stories {
		return sim.live(ctx, c.Pace, func(t stripesim.Told) {
			fmt.Fprintf(s.out, "%s  %s %s\n", s.out.paint(faint, t.Time.UTC().Format("2006-01-02")), s.out.paint(strong, t.Customer), t.Say)
		})
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-sim.served:
		sim.served <- err // for stop
		return err
	}
}
