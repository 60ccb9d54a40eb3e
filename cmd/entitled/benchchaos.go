package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/chaos"
	"entitled/internal/dev"
	"entitled/internal/natsproc"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type benchChaosCmd struct {
	For       time.Duration `default:"1m" placeholder:"1m" help:"No lap begins after this time."`
	Seed      uint64        `placeholder:"N" help:"Choose the faults and their order. Default: a random one."`
	Customers int           `default:"200" placeholder:"200" help:"The number of customers at the end."`
	Replicas  int           `default:"1" placeholder:"1|3" help:"3 runs three nats-servers, each a process that is killed, paused and cut off, and three replicas of everything."`
	JSON      bool          `name:"json" help:"Print the counts and the failure as JSON."`
}

// Help is shown below the usage.
func (benchChaosCmd) Help() string {
	return `Runs ingests, syncers, NATS and a simulated Stripe in this process and breaks them:
answers slow, stale, refused, torn; webhooks twice, late, out of order or never; connections cut or
deaf; daemons and NATS killed and started again; jobs and backfills beside all that. In laps: after
each, the faults end, and every snapshot, every webhook that was answered 2xx, every record and
what a client saw are compared with Stripe.

	entitled bench chaos --for 30m
	entitled bench chaos --for 30m --seed 7 --json
	entitled bench chaos --for 30m --replicas 3

With --replicas 3 the servers' logs are searched too, and the replicas compared. Each lap stores 12
MB of events.

Ends with 1 if anything was lost, stale or stuck, and prints the customer's story and the seed. A
seed repeats the faults, not the scheduling of goroutines: it may take several runs to see the
failure again.`
}

// Run breaks everything, lap after lap, and says how it went.
func (c benchChaosCmd) Run(ctx context.Context, s *command.Session) error {
	switch {
	case c.For <= 0:
		return command.Misuse(fmt.Errorf("--for %s: not above zero", c.For), "a duration like 30s or 30m")
	case c.Customers < 1:
		return command.Misuse(fmt.Errorf("--customers %d: below one", c.Customers), "200 is usual")
	case c.Replicas != 1 && c.Replicas != 3:
		return command.Misuse(fmt.Errorf("--replicas %d: neither 1 nor 3", c.Replicas), "3 is three servers")
	}
	if c.Seed == 0 {
		c.Seed = 1 + rand.Uint64N(1_000_000)
	}
	dir, err := os.MkdirTemp("", "entitled-chaos-")
	if err != nil {
		return fmt.Errorf("make a directory for NATS: %w", err)
	}
	keep := false
	defer func() {
		if !keep {
			_ = os.RemoveAll(dir) // it is temporary
		}
	}()
	nats, stop, err := c.startNATS(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintln(s.Err, s.Err.Paint(term.Faint, fmt.Sprintf("seed %d", c.Seed)))
	began := s.Now()
	report, err := chaos.Run(ctx, chaos.Config{
		Server: nats, For: c.For, Seed: c.Seed, Customers: c.Customers,
		Progress: func(r chaos.Report) {
			fmt.Fprintln(s.Err, s.Err.Paint(term.Faint, fmt.Sprintf("%s: %s, %s, %s, all compared",
				tell.Short(s.Now().Sub(began)), tell.Count(r.Laps, "lap"), tell.Count(r.Steps, "step"),
				tell.Count(r.Webhooks, "webhook"))))
		},
	})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // what was compared was right
	}
	if keep = err != nil && c.Replicas > 1; keep {
		fmt.Fprintln(s.Err, "the stores and the logs of the servers are in "+dir)
	}
	return c.say(s, report, s.Now().Sub(began), err)
}

// say prints the report. Its error ends the command, and says what repeats it.
func (c benchChaosCmd) say(s *command.Session, report chaos.Report, took time.Duration, wrong error) error {
	if c.JSON {
		line := struct {
			chaos.Report
			Took  float64 `json:"took_seconds"`
			Wrong string  `json:"wrong,omitempty"`
		}{report, took.Seconds(), ""}
		if wrong != nil {
			line.Wrong = wrong.Error()
		}
		if err := s.Encode(line); err != nil {
			return err
		}
	} else if wrong == nil {
		fmt.Fprintf(s.Out, "%s %s in %s, seed %d: nothing lost, nothing stale, nothing stuck\n",
			s.Out.Paint(term.Grants, "✓"), tell.Count(report.Laps, "lap"), tell.Short(took), report.Seed)
		for _, l := range report.Lines() {
			fmt.Fprintf(s.Out, "  %s %s\n", term.PadLeft(fmt.Sprint(l.N), 8), l.What)
		}
	}
	if wrong == nil {
		return nil
	}
	return tell.WithHint(wrong, fmt.Sprintf("%s bench chaos --seed %d --for %s --customers %d --replicas %d "+
		"repeats the run",
		s.Self, report.Seed, c.For, c.Customers, c.Replicas))
}

// startNATS starts a server in this process, or several, each a process of its own.
func (c benchChaosCmd) startNATS(ctx context.Context, dir string) (nats chaos.Server, stop func(), err error) {
	if c.Replicas == 1 {
		one, err := dev.StartNATS(dir, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, nil, err
		}
		return one, one.Stop, nil
	}
	several, err := natsproc.Start(ctx, natsproc.Config{Servers: c.Replicas, Dir: dir})
	if err != nil {
		return nil, nil, tell.WithHint(err, "three nats-servers need some memory and a disk that is not full; "+
			"stop other work on this machine")
	}
	return several, several.Close, nil
}
