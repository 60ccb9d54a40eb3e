package main

import (
	"context"
	"fmt"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/audit"
	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type syncCmd struct {
	command.CustomerFlags
	JSON bool `name:"json" help:"Print the snapshot as JSON, a line for each customer."`
}

// Help is shown below the usage.
func (syncCmd) Help() string {
	return `Asks a running syncer to read the customer from Stripe now, and shows the new snapshot. An
app does the same right after a checkout, with Client.Sync or a NATS request to
entitled.sync.<mode>. A parked customer is tried again.

	entitled sync cus_NffrFeUfNV2Hib

All customers with your own id are read. A new customer has no snapshot, and so no id, before its first
sync: name it cus_….`
}

// Run asks for fresh snapshots and shows them.
func (c syncCmd) Run(ctx context.Context, s *command.Session) error {
	p, name, err := c.Open(ctx, s)
	if err != nil {
		return err
	}
	defer p.NC.Close()
	customers, err := p.Customers(ctx, s, name)
	if err != nil {
		return err
	}
	for i, customer := range customers {
		if i > 0 && !c.JSON {
			fmt.Fprintln(s.Out)
		}
		if err := c.sync(ctx, s, p, customer); err != nil {
			return fmt.Errorf("sync %s: %w", customer, err)
		}
	}
	return nil
}

func (c syncCmd) sync(ctx context.Context, s *command.Session, p *command.Pipeline,
	customer stripeevent.Customer) error {
	began := s.Now()
	answer, err := audit.ReadNow(ctx, p.NC, customer)
	if err != nil {
		return tell.ReadNowFailure(err, p.Mode)
	}
	if c.JSON {
		_, err := fmt.Fprintf(s.Out, "%s\n", answer.Snapshot)
		return err
	}
	snapshot, err := command.Decoded(named.Entry{Customer: customer, Data: answer.Snapshot, Revision: answer.Revision})
	if err != nil {
		return err
	}
	now := s.Now()
	tell.Snapshot(s.Out, &snapshot, answer.Revision, now)
	fmt.Fprintln(s.Out, s.Out.Paint(term.Faint, fmt.Sprintf("  read from Stripe and "+
		"written in %s", tell.Short(now.Sub(began)))))
	return nil
}
