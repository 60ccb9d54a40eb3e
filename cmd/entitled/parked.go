package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

type parkedCmd struct {
	Redrive    []string `narrows:"" placeholder:"CUS" help:"Try these customers again: ${customer}."`
	RedriveAll bool     `help:"Try all parked customers again; with --all also those that are retried anyway."`
	All        bool     `help:"Show also those whose syncs fail and are still tried again."`
	JSON       bool     `name:"json" help:"One JSON object a line."`
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (parkedCmd) Help() string {
	return `A customer is parked when reading it from Stripe fails for a reason of its own, so that it does not hold up others. It keeps its last
snapshot. Its next event, or entitled sync, tries it again; so does a redrive: of customers that are named beside what webhooks mark, of all
parked ones in the lane for bulk work. A success unparks it.

	entitled parked
	entitled parked --all --json | jq .error
	entitled parked --redrive cus_NffrFeUfNV2Hib
	entitled parked --redrive-all`
}

// failingLine is a parked customer for programs.
type failingLine struct {
	Customer string `json:"customer"`
	Account  string `json:"account,omitempty"`
	Mode     string `json:"mode"`
	syncer.Failure
	// Unreadable is there where the entry is none of a syncer's; nothing of it is shown.
	Unreadable bool `json:"unreadable,omitempty"`
	// Redriven is there when this call marked it again.
	Redriven bool `json:"redriven,omitempty"`
}

// Run lists, and redrives.
func (p parkedCmd) Run(ctx context.Context, s *session) error {
	mode, err := p.mode(s)
	if err != nil {
		return err
	}
	if p.RedriveAll && len(p.Redrive) > 0 {
		return usageError{hinted{errors.New("--redrive and --redrive-all exclude each other"), "choose one"}}
	}
	var wanted []stripeevent.Customer
	for _, name := range p.Redrive {
		c, err := s.customer(" --redrive", name, "", mode)
		if err != nil {
			return err
		}
		wanted = append(wanted, c)
	}
	nc, err := p.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	mode = found(ctx, nc, mode)
	for i := range wanted {
		wanted[i].Mode = mode
	}
	log, err := openLog(ctx, nc)
	if err != nil {
		return err
	}
	list, err := log.Parked(ctx, mode, p.All || len(p.Redrive) > 0)
	if err != nil {
		return explainLog(err)
	}
	if len(wanted) > 0 {
		if list, err = chosen(list, wanted, mode); err != nil {
			return err
		}
	}
	redriven := p.RedriveAll || len(p.Redrive) > 0
	if redriven {
		lane := stripeevent.Now // somebody waits for those that are named
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
		return printFailing(s, list, redriven)
	}
	showFailing(s, mode, list, p.All)
	if redriven && len(list) > 0 {
		fmt.Fprintf(s.out, "%s to be tried again: %s shows who stays\n", count(len(list), "customer"), command(mode, s.Self+" parked"))
	}
	return nil
}

// chosen are those of the list that were named; each must be there.
func chosen(list []audit.Failing, wanted []stripeevent.Customer, mode entitlement.Mode) ([]audit.Failing, error) {
	var out []audit.Failing
	var errs []error
	found := map[stripeevent.Customer]bool{}
	for _, f := range list {
		if slices.Contains(wanted, f.Customer) {
			out, found[f.Customer] = append(out, f), true
		}
	}
	for _, c := range wanted {
		if !found[c] {
			errs = append(errs, fmt.Errorf("%s is not parked in %s mode", printable(c.String()), mode))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, withHint(err, fmt.Sprintf("nobody was redriven; %s lists who is parked, `entitled sync` reads any customer now", command(mode, "entitled parked")))
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
		return withHint(fmt.Errorf("%d of %d redriven: %w", n, customers.Len(), err), "say it again: redriving twice is harmless")
	}
	return nil
}

func printFailing(s *session, list []audit.Failing, redriven bool) error {
	for _, f := range list {
		b, err := json.Marshal(failingLine{
			Customer: f.Customer.ID, Account: f.Customer.Account, Mode: string(f.Customer.Mode), Failure: f.Failure,
			Unreadable: f.Unreadable, Redriven: redriven,
		})
		if err != nil {
			return fmt.Errorf("failures of %s: %w", f.Customer, err)
		}
		if _, err := fmt.Fprintf(s.out, "%s\n", b); err != nil {
			return err
		}
	}
	return nil
}

func showFailing(s *session, mode entitlement.Mode, list []audit.Failing, all bool) {
	if len(list) == 0 {
		word := "nobody is parked in " + string(mode) + " mode"
		if all {
			word += ", and no customer's sync fails"
		}
		fmt.Fprintln(s.out, s.out.paint(grants, "✓")+" "+word)
		return
	}
	now := s.now()
	for _, f := range list {
		mark, state, c := "✗", "", denies
		switch {
		case f.ParkedAt != nil:
			state = "parked " + since(*f.ParkedAt, now) + " after " + count(f.Attempts, "attempt")
		case f.Unreadable:
			mark, c = "?", ending
			state = "the entry cannot be read: the customer's next sync mends that"
		default:
			mark, c = "~", ending
			state = "failing for " + ago(now.Sub(f.FirstAt)) + ", " + count(f.Attempts, "attempt") + ", tried again by itself"
		}
		fmt.Fprintf(s.out, "%s %s  %s\n", s.out.paint(c, mark), s.out.paint(strong, printable(f.Customer.String())), s.out.paint(c, state))
		if f.Unreadable {
			continue
		}
		v := view{s.out}
		v.row("reason", f.Error)
		v.row("first, last", clock(f.FirstAt)+", "+clock(f.LastAt))
		v.row("tried because", because(f.Cause.Trigger, f.Cause.Type, f.Cause.Event))
	}
}

// because is a cause in a few words.
func because(trigger, typ, event string) string {
	return strings.TrimSpace(trigger + " " + typ + " " + event)
}

// clock is an instant to the second.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
