package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/audit"
	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type parkedCmd struct {
	Redrive    []string `narrows:"" placeholder:"CUS" help:"Try these customers again: ${customer}."`
	RedriveAll bool     `help:"Try all parked customers again; with --all also those that are retried anyway."`
	All        bool     `help:"Show also those whose syncs fail and are still tried again."`
	JSON       bool     `name:"json" help:"One JSON object a line."`
	command.ModeFlag
	command.NATSFlags
}

// Help is shown below the usage.
func (parkedCmd) Help() string {
	return `A customer is parked when reading it from Stripe fails for a reason of its own, so that it
does not hold up others. It keeps its last snapshot. Its next event, or entitled sync, tries it
again; so does a redrive: of customers that are named beside what webhooks mark, of all parked ones
in the lane for bulk work. A success unparks it.

	entitled parked
	entitled parked --all --json | jq .error
	entitled parked --redrive cus_NffrFeUfNV2Hib
	entitled parked --redrive-all`
}

// Run lists, and redrives.
func (p parkedCmd) Run(ctx context.Context, s *command.Session) error {
	if p.RedriveAll && len(p.Redrive) > 0 {
		return command.Misuse(errors.New("--redrive and --redrive-all exclude each other"), "choose one")
	}
	var names []named.Name
	for _, arg := range p.Redrive {
		name, err := s.ReadName(" --redrive", arg, "")
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	at, err := p.Reach(ctx, s, p.ModeFlag)
	if err != nil {
		return err
	}
	defer at.NC.Close()
	mode := at.Mode
	log, err := command.OpenLog(ctx, at.JS)
	if err != nil {
		return err
	}
	list, err := log.Parked(ctx, mode, p.All || len(names) > 0)
	if err != nil {
		return command.ExplainLog(err)
	}
	if len(names) > 0 {
		if list, err = chosen(ctx, s, at, list, names); err != nil {
			return err
		}
	}
	redriven := p.RedriveAll || len(p.Redrive) > 0
	if redriven {
		lane := stripeevent.Now // the caller waits for the named ones
		if p.RedriveAll {
			lane = stripeevent.Bulk
		}
		if err := redrive(ctx, log, list, lane); err != nil {
			return err
		}
		if len(list) > 0 {
			warnIfIdle(ctx, s, log, mode)
		}
	}
	if p.JSON {
		for _, f := range list {
			if err := s.Encode(tell.NewFailingLine(f, redriven)); err != nil {
				return err
			}
		}
		return nil
	}
	tell.Failing(s.Out, mode, list, p.All, s.Now())
	if redriven && len(list) > 0 {
		fmt.Fprintf(s.Out, "%s will be tried again: %s lists those that stay "+
			"parked\n", tell.Count(len(list), "customer"), tell.Command(mode, s.Self+" parked"))
	}
	return nil
}

// chosen returns those of the list that are named. Each name must have at least one.
func chosen(ctx context.Context, s *command.Session, p *command.Pipeline, list []audit.Failing,
	names []named.Name) ([]audit.Failing, error) {
	var out []audit.Failing
	var errs []error
	for _, n := range names {
		customers, err := p.Customers(ctx, s, n)
		if err != nil {
			return nil, err
		}
		none := true
		for _, f := range list {
			if slices.Contains(customers, f.Customer) {
				none = false
				if !slices.ContainsFunc(out, func(o audit.Failing) bool { return o.Customer == f.Customer }) {
					out = append(out, f)
				}
			}
		}
		if none {
			errs = append(errs, fmt.Errorf("%s is not parked in %s mode", term.Printable(n.String()), p.Mode))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, tell.WithHint(err, fmt.Sprintf("no customer was redriven; %s lists the parked ones, "+
			"`entitled sync` reads any customer now", tell.Command(p.Mode, "entitled parked")))
	}
	return out, nil
}

func redrive(ctx context.Context, log *audit.Log, list []audit.Failing, lane stripeevent.Lane) error {
	var customers audit.Customers
	for _, f := range list {
		customers.Add(f.Customer)
	}
	n, err := log.Mark(ctx, &customers, lane, stripeevent.TriggerRedrive, nil)
	if err != nil {
		return tell.WithHint(fmt.Errorf("%d of %d redriven: %w", n, customers.Len(), err), "run it again: "+
			"redriving twice is harmless")
	}
	return nil
}
