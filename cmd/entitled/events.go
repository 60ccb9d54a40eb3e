package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/audit"
	"entitled/internal/follow"
	"entitled/internal/repeats"
	"entitled/internal/tell"
)

type eventsCmd struct {
	command.SliceFlags
	Follow  bool `short:"f" help:"Continue with new events, until interrupted."`
	Verify  bool `help:"Check that every stored body is the one that arrived; exit with 1 if one is not, or if a digest is missing."`
	Repeats bool `help:"Show repeats too: events that Stripe sent again after they had been stored."`
	JSON    bool `name:"json" help:"One JSON object a line, with the body's exact bytes in base64."`
	command.ModeFlag
	command.NATSFlags
}

// Help is shown below the usage.
func (eventsCmd) Help() string {
	return fmt.Sprintf(`The audit log: every event with a valid signature, in the order of storage, whether or not
it marked a customer.

	entitled events --since 2h
	entitled events --customer cus_NffrFeUfNV2Hib --type 'invoice.*'
	entitled events --since 2026-11-22 --until 2026-11-23 --verify
	entitled events -f --type customer.subscription.deleted
	entitled events --json --since 1h | jq -r '.body | @base64d | fromjson | .data.object.id'

One customer, account or type is looked up by subject. In --json, "body" is base64 of the bytes
that Stripe signed; their CRC-32C as recorded on arrival is "digest". A repeat is detected among
the %d events before it.`, repeats.Remembered)
}

// untilSlack is how long behind --until events are waited for that were stored before it, by a
// clock that may differ.
const untilSlack = 2 * time.Second

// Run lists the events.
func (e eventsCmd) Run(ctx context.Context, s *command.Session) error {
	slice, name, err := e.Slice(s)
	if err != nil {
		return err
	}
	var more []nats.Option
	if e.Follow {
		more = command.Absences(s)
	}
	p, err := e.Reach(ctx, s, e.ModeFlag, more...)
	if err != nil {
		return err
	}
	defer p.NC.Close()
	slice.Mode = p.Mode
	if e.Customer != "" {
		customers, err := p.Customers(ctx, s, name)
		if err != nil {
			return err
		}
		command.Narrow(&slice, name, customers...)
	}
	log, err := command.OpenLog(ctx, p.JS)
	if err != nil {
		return err
	}
	list := &tell.Events{
		Out: s.Out, Err: s.Err, JSON: e.JSON, Verify: e.Verify, Repeats: e.Repeats, Follow: e.Follow,
		NameWidth: follow.NameWidth,
	}
	options := audit.EventsOptions{Bodies: e.JSON || e.Verify, Follow: e.Follow, Foreign: list.Foreign}
	if e.Follow && !slice.Until.IsZero() {
		// Nothing may come that is stored later, and shows that it is over.
		options.FollowUntil = time.Now().Add(max(0, slice.Until.Sub(s.Now())) + untilSlack)
	}
	err = log.Events(ctx, slice, options, list.Print)
	switch {
	case ctx.Err() != nil && e.Follow:
		err = nil // how following ends
	case err != nil:
		return command.ExplainLog(err)
	}
	if err := list.End(slice); err != nil || !list.Empty() || e.Follow {
		return err
	}
	return command.WhyNone(ctx, list.Summary(), log, slice)
}
