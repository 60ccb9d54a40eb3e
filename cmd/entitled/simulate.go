package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/dev"
	"entitled/stripesim"
)

type simulateCmd struct {
	Addr    string        `default:"127.0.0.1:12111" help:"Where it listens. Paths under /_sim/ need no key: keep it on loopback."`
	Webhook string        `name:"webhook-url" placeholder:"URL" help:"Where it sends webhooks, for instance http://127.0.0.1:8080/webhooks/stripe. Default: nowhere."`
	Secret  string        `name:"webhook-secret" placeholder:"WHSEC" help:"The secret that signs them. Default: a random one, which is printed."`
	Seed    uint64        `default:"1" help:"Makes ids, faults and the order of webhooks repeatable."`
	Speed   float64       `default:"1" help:"Simulated seconds per second. 0: the clock stands still until POST /_sim/clock moves it."`
	Stories bool          `help:"Let a few customers live through their stories, over and over; the clock jumps ahead with them."`
	Pace    time.Duration `default:"1s" help:"With --stories: time between two steps."`
}

// Help is shown below the usage.
func (simulateCmd) Help() string {
	return `A stateful Stripe for tests in any language: point a Stripe client at it and steer it over
HTTP; it sends the webhooks that Stripe would send.

	entitled simulate --webhook-url http://127.0.0.1:8080/webhooks/stripe

	curl -d '{"customer":"cus_1","price":"price_pro_monthly"}' 127.0.0.1:12111/_sim/checkout
	curl -d '{"advance":"768h"}' 127.0.0.1:12111/_sim/clock
	curl '127.0.0.1:12111/_sim/state?customer=cus_1'
	curl -d '{"latency":{"min":"80ms","max":"230ms"},"error_500":0.1}' 127.0.0.1:12111/_sim/faults

Paths under /_sim/. Bodies and answers are JSON. A refused request gets 400 with {"error":…}, which
lists the known fields. account is the id of a connected account, live is true or false; durations
are strings such as "1.5s".

	` + strings.ReplaceAll(stripesim.AdminAPI, "\n", "\n\t") + `

docs/operations/simulate.md describes the faults.`
}

// Run serves until ctx ends.
func (c simulateCmd) Run(ctx context.Context, s *command.Session) error {
	if err := c.check(); err != nil {
		return err
	}
	l, err := dev.Listen("--addr", c.Addr, c.Addr)
	if err != nil {
		return err
	}
	sim := dev.StartSimulation(dev.SimulationConfig{Seed: c.Seed, Listen: l})
	secret := ""
	if c.Webhook != "" {
		secret = sim.Deliver(c.Webhook, c.Secret)
	}
	err = sim.DemoCatalog()
	if err == nil {
		sim.Banner(s.Out, l.Addr(), c.Webhook, secret)
		if c.Stories {
			err = sim.Stories(ctx, s.Out, c.Speed, c.Pace)
		} else {
			err = sim.Tick(ctx, c.Speed)
		}
	}
	return errors.Join(err, sim.Stop())
}

func (c simulateCmd) check() error {
	bad := func(err, hint string) error { return command.Misuse(errors.New(err), hint) }
	if c.Webhook != "" {
		if u, err := url.Parse(c.Webhook); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return bad(fmt.Sprintf("--webhook-url %q: "+
				"not a URL", c.Webhook), "like http://127.0.0.1:8080/webhooks/stripe")
		}
	}
	switch {
	case c.Webhook == "" && c.Secret != "":
		return bad("--webhook-secret without --webhook-url: there is nothing to sign", "say where webhooks go "+
			"with --webhook-url")
	case c.Speed < 0:
		return bad(fmt.Sprintf("--speed %v: time does not go back", c.Speed), "0 or more")
	}
	return command.NotNegative("--pace", c.Pace)
}
