package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/audit"
	"entitled/internal/audit/fresh"
	"entitled/internal/daemon"
	"entitled/internal/named"
	"entitled/internal/stories"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/wiring"
	"entitled/internal/wiring/syncerd"
)

type explainCmd struct {
	command.CustomerFlags
	At       string `narrows:"" placeholder:"TIME" help:"Show the answer that an app got at this time, and what was under way: ${times}."`
	Since    string `narrows:"" placeholder:"TIME" help:"Leave out earlier events and syncs. Times as for --at."`
	Plans    string `narrows:"" placeholder:"FILE" help:"Show instead what this plans document would change for the customer. Nothing is applied."`
	JSON     bool   `name:"json" help:"Print the story as JSON."`
	Coverage string `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"Interval of the coverage check, as the syncers have it."`
	checkFlags
	wiring.MarkSettings
}

// checkFlags are how Stripe is read for --check. They must be the syncer's.
type checkFlags struct {
	Compare  bool             `name:"check" help:"Read the customer from Stripe too, with STRIPE_API_KEY, and show what differs. Nothing is written."`
	Base     string           `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is, for --check."`
	Rate     string           `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"Requests/s to Stripe, as the syncers have it, for --check."`
	Replaced syncerd.Replaced `embed:""`
}

// Help is shown below the usage.
func (explainCmd) Help() string {
	return `One customer's story. First the answer: access or not, since when, and the sync that
changed it. Then, in order, each event, the sync that covered it, how long the sync waited and for
what, its requests to Stripe, and the changes. Last the state now. Start here if you are asked why
a customer was locked out at 14:02.

	entitled explain cus_NffrFeUfNV2Hib
	entitled explain cus_NffrFeUfNV2Hib --since 1d
	entitled explain cus_NffrFeUfNV2Hib --at 14:02
	STRIPE_API_KEY=rk_live_… entitled explain cus_NffrFeUfNV2Hib --check
	entitled explain cus_NffrFeUfNV2Hib --json | jq -r .headline.text
	entitled explain cus_NffrFeUfNV2Hib --json | jq .uncovered

Exits with 1 if an event has no sync and none is coming, if the snapshot is gone from the bucket or
cannot be read, or if --check finds a difference. An event that waits for a pending sync is no
failure.`
}

// Run prints the story.
func (e explainCmd) Run(ctx context.Context, s *command.Session) error {
	name, err := s.ReadName("", e.Customer, e.Account)
	if err != nil {
		return err
	}
	if e.Plans != "" {
		return e.planned(ctx, s, name)
	}
	mode, err := e.ReadMode(s)
	if err != nil {
		return err
	}
	now := s.Now()
	at, err := tell.PastArg("--at", e.At, now)
	since, serr := tell.PastArg("--since", e.Since, now)
	if err := command.UsageErrors(err, serr, e.excluded()); err != nil {
		return err
	}
	check := daemon.Checker{Program: s.Name}
	marks := e.MarkSettings.Check(&check)
	coverage := check.Duration("COVERAGE_EVERY", e.Coverage, daemon.Between(time.Second, 24*time.Hour))
	stripe := e.settings(s, &check)
	if err := check.Err(); err != nil {
		return err
	}
	if e.Compare && stripe.Mode != mode {
		return command.Misuse(fmt.Errorf("STRIPE_API_KEY is of mode %s, "+
			"asked is %s", stripe.Mode, mode), "--mode and the key must agree for --check")
	}
	p, name, err := e.Open(ctx, s)
	if err != nil {
		return err
	}
	defer p.NC.Close()
	customers, err := p.Customers(ctx, s, name)
	if err != nil {
		return err
	}
	log, err := command.OpenLog(ctx, p.JS)
	if err != nil {
		return err
	}
	t := telling{log: log, marks: marks, since: since, at: at, coverage: coverage, stripe: stripe}
	t.documents, _ = p.Documents(ctx)
	var failed error
	for i, c := range customers {
		if i > 0 && !e.JSON {
			fmt.Fprintln(s.Out)
		}
		if err := e.tell(ctx, s, p, c, t); err != nil && !errors.Is(err, command.ErrSilent) {
			return err
		} else if err != nil {
			failed = err
		}
	}
	return failed
}

// A telling is how stories are told.
type telling struct {
	log       *audit.Log
	marks     stripeevent.Types
	since, at time.Time
	coverage  time.Duration
	stripe    syncerd.Syncer
	documents tell.Documents
}

// tell prints the story of one customer.
func (e explainCmd) tell(ctx context.Context, s *command.Session, p *command.Pipeline,
	c stripeevent.Customer, t telling) error {
	story, err := t.log.Story(ctx, c, t.marks, s.Now())
	if err != nil {
		return command.ExplainLog(err)
	}
	if e.Compare {
		if err := fresh.Compare(ctx, p.JS, story, t.stripe.Stripe, t.stripe.Rate); err != nil {
			return err
		}
	}
	switch {
	case story.Empty() && (story.Now.Fresh == nil || stories.UnknownToBoth(story.Now)):
		return stories.Unknown(c, story.Now.Fresh)
	case e.At != "":
		return e.printAt(s, c, story.ViewAt(t.at), story.StandingAt(t.at))
	case story.Waits():
		story.Now.Running = t.log.Running(ctx, p.Mode)
	}
	return e.print(s, story, t)
}

// planned shows what a document would change for the customer.
func (e explainCmd) planned(ctx context.Context, s *command.Session, name named.Name) error {
	if e.At != "" || e.Since != "" || e.Compare {
		return command.Misuse(errors.New("--plans excludes --at, --since and --check"), "leave out the others")
	}
	doc, err := readPlans(s, e.Plans)
	if err != nil {
		return err
	}
	v, err := plansFlags{e.ModeFlag, e.NATSFlags}.open(ctx, s)
	if err != nil {
		return err
	}
	defer v.NC.Close()
	return v.show(ctx, s, doc, e.Plans, &name, e.JSON)
}

// excluded says which flags make no sense together.
func (e explainCmd) excluded() error {
	var errs []error
	if e.At != "" && e.Compare {
		errs = append(errs, tell.WithHint(errors.New("--at and --check exclude each other"), "Stripe knows the "+
			"current state only: leave out one"))
	}
	if e.At != "" && e.Since != "" {
		errs = append(errs, tell.WithHint(errors.New("--at and --since exclude each other"), "--at shows one "+
			"instant, --since the story from then on: choose one"))
	}
	return command.UsageErrors(errs...)
}

// settings are those of --check; without it, none are looked at.
func (f checkFlags) settings(s *command.Session, check *daemon.Checker) syncerd.Syncer {
	if !f.Compare {
		return syncerd.Syncer{}
	}
	key := check.Secret("STRIPE_API_KEY", s.Getenv("STRIPE_API_KEY"), syncerd.KeyHint)
	return syncerd.Settings{
		Base: f.Base, Rate: f.Rate, Replaced: f.Replaced, CoverageEvery: "5m", // not used here
	}.Check(check, key)
}

func (e explainCmd) print(s *command.Session, story *audit.Story, t telling) error {
	lost := story.Uncovered()
	if e.JSON {
		if err := s.Encode(stories.NewLine(story, t.since)); err != nil {
			return err
		}
	} else {
		stories.Print(s.Out, story, t.since, t.coverage, t.documents)
	}
	if len(lost) > 0 || story.Gone() != nil || story.Now.Unreadable != "" || stories.Differs(story.Now) {
		return command.ErrSilent
	}
	return nil
}

func (e explainCmd) printAt(s *command.Session, c stripeevent.Customer, view audit.View,
	standing audit.Standing) error {
	if e.JSON {
		return s.Encode(stories.NewViewLine(c, view, standing))
	}
	stories.PrintAt(s.Out, c, view, standing)
	return nil
}
