package dev

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/stripesim"
)

// fromElsewhere is how other machines and containers reach a listener that listens everywhere, ""
// for any other.
func fromElsewhere(at net.Addr) string {
	host, err := os.Hostname()
	if local := tell.LocalAddr(at); err == nil && local != at.String() {
		_, port, _ := net.SplitHostPort(local)
		return "http://" + net.JoinHostPort(host, port)
	}
	return ""
}

// Banner prints how programs reach the simulated Stripe, which listens at at. It sends webhooks to a
// URL, "" for none, signed with secret.
func (s *Simulation) Banner(out term.Terminal, at net.Addr, webhook, secret string) {
	fmt.Fprintf(out, "%s  %s\n\n", out.Paint(term.Strong, "simulated Stripe"), s.URL)
	out.Line("your program", "STRIPE_API_BASE="+s.URL)
	if elsewhere := fromElsewhere(at); elsewhere != "" {
		out.Line("elsewhere", "STRIPE_API_BASE="+elsewhere)
	}
	out.Line("", "STRIPE_API_KEY="+SimulatedKey+" (any sk_test_… or rk_test_… will do)")
	if secret != "" {
		out.Line("", "STRIPE_WEBHOOK_SECRETS="+secret)
		out.Row("webhooks to", webhook)
	} else {
		out.Row("webhooks to", "no URL; --webhook-url sets one")
	}
	out.Row("prices", "price_starter_monthly price_pro_monthly price_team_monthly")
	out.Line("steer it", "curl -d '{\"customer\":\"cus_1\"}' "+s.URL+"/_sim/checkout")
	out.Row("", "entitled simulate --help has more")
	fmt.Fprintln(out)
}

// Tick moves the clock, by speed simulated seconds a second, until ctx ends.
func (s *Simulation) Tick(ctx context.Context, speed float64) error {
	return s.during(ctx, speed, s.Wait)
}

// Stories lets customers live through their stories while the clock moves, and prints each step, until
// ctx ends.
func (s *Simulation) Stories(ctx context.Context, out term.Terminal, speed float64, pace time.Duration) error {
	return s.during(ctx, speed, func(ctx context.Context) error {
		return s.Play(ctx, pace, func(t stripesim.Progress) {
			fmt.Fprintf(out, "%s  %s %s\n", out.Paint(term.Faint, t.Time.UTC().Format("2006-01-02")),
				out.Paint(term.Strong, t.Customer), t.Say)
		})
	})
}

// during moves the clock while do runs.
func (s *Simulation) during(ctx context.Context, speed float64, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	ticking := make(chan struct{})
	go func() { // during waits for it
		defer close(ticking)
		if speed > 0 {
			s.Live(ctx, speed)
		}
	}()
	defer func() { cancel(); <-ticking }()
	return do(ctx)
}
