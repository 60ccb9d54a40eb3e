package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/forget"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type forgetCmd struct {
	command.CustomerFlags
	Yes  bool `short:"y" help:"Do not ask."`
	JSON bool `name:"json" help:"Print the erased amounts as JSON."`
}

// Help is shown below the usage.
func (forgetCmd) Help() string {
	return `Erases all data about one customer: its events and the records of its syncs are
overwritten in the store; its snapshot, markers, scheduled check and failures are removed. Apps see
the snapshot vanish: access ends. One record stays: that the customer was forgotten, and when. An
unfinished backfill that has read the customer starts over.

It does not touch Stripe. While the customer exists there, it comes back with its next event, a
request for it, the nightly sweep or a backfill. Delete it in Stripe first, let that event arrive,
then forget it. Its past events are not recovered. Erase backups of NATS and the copies of your
apps yourself.

	entitled forget cus_NffrFeUfNV2Hib
	entitled forget cus_NffrFeUfNV2Hib --yes --json

An id of yours is taken if one customer has it; of several, none is erased, and they are listed. A
customer that was deleted in Stripe has no id any more: name it cus_….`
}

// Run erases, after asking.
func (f forgetCmd) Run(ctx context.Context, s *command.Session) error {
	p, name, err := f.Open(ctx, s)
	if err != nil {
		return err
	}
	defer p.NC.Close()
	c, err := p.Customer(ctx, s, name)
	if err != nil {
		return err
	}
	js := p.JS
	has, err := forget.Count(ctx, js, c)
	if err != nil {
		return command.ExplainLog(err)
	}
	if has.Zero() {
		return tell.WithHint(fmt.Errorf("nothing is kept of %s in "+
			"%s mode", term.Printable(c.String()), c.Mode), tell.Elsewhere(c))
	}
	if !f.Yes {
		if err := f.confirm(ctx, s, c, has); err != nil {
			return err
		}
	}
	erased, err := forget.Erase(ctx, js, c)
	if err != nil {
		return tell.WithHint(fmt.Errorf("forget %s: after "+
			"%s: %w", term.Printable(c.String()), tell.Amounts(erased), err), "run it again: it continues with "+
			"the rest")
	}
	return f.report(ctx, s, js, c, erased)
}

// confirm asks on a terminal, and refuses without one.
func (f forgetCmd) confirm(ctx context.Context, s *command.Session, c stripeevent.Customer, has forget.Amounts) error {
	what := fmt.Sprintf("%s in %s mode: %s", term.Printable(c.String()), c.Mode, tell.Amounts(has))
	if !s.Err.Screen || !term.IsTerminal(os.Stdin) {
		return command.Misuse(fmt.Errorf("nothing was erased: confirm with --yes: %s", what), "give --yes, or run it on "+
			"a terminal")
	}
	answer, err := s.Ask(ctx, fmt.Sprintf("Erase all that is kept of %s?\nThis cannot be undone. Type the customer's "+
		"id: ", what), "nothing was erased")
	if err != nil {
		return err
	}
	if answer != c.ID && answer != c.String() && answer != c.Key() {
		return tell.WithHint(errors.New("not erased"), "the answer was not the customer's id")
	}
	return nil
}

func (f forgetCmd) report(
	ctx context.Context, s *command.Session, js jetstream.JetStream, c stripeevent.Customer, erased forget.Amounts,
) error {
	left, err := forget.Count(ctx, js, c)
	if err != nil {
		return command.ExplainLog(err)
	}
	if f.JSON {
		err = s.Encode(tell.NewForgottenLine(c, s.Now(), erased, left))
	} else {
		tell.Forgotten(s.Out, c, erased)
	}
	if err != nil || left.Zero() {
		return err
	}
	return tell.WithHint(fmt.Errorf("%s has data again: %s", term.Printable(c.String()), tell.Amounts(left)),
		"a sync was running, or an event arrived: delete the customer in Stripe, then run it again")
}
