package main

import (
	"context"
	"errors"
	"fmt"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/named"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type getCmd struct {
	command.CustomerFlags
	Feature string `narrows:"" placeholder:"KEY" help:"Say whether the customer may use this feature (its lookup key), and exit with 0 only if it may, also with --json."`
	Limit   string `narrows:"" placeholder:"NAME" help:"Show this limit and what it is made of, and exit with 0 only if it is above 0, also with --json."`
	JSON    bool   `name:"json" help:"Print the snapshot as it is stored; for your own id, the answer of all its customers and their snapshots."`
}

// Help is shown below the usage.
func (getCmd) Help() string {
	return `Reads the bucket, not Stripe: it works while Stripe is down, and shows the age of the snapshot.

	entitled get cus_NffrFeUfNV2Hib
	entitled get cus_NffrFeUfNV2Hib --json | jq .subscriptions
	entitled get cus_NffrFeUfNV2Hib --feature sso && echo welcome
	entitled get user-42 --limit seats

In --json, "access" is as of "as_of": it has ended once "access_until" (unix seconds) has passed.
--feature and --limit take that into account. Several customers with one id answer together.

Exits with 0 if there is a snapshot. With --feature or --limit it exits with 0 for yes and with 1 for
no; for an unknown customer the default of the plans document answers, as it does in your programs.
Otherwise an unknown customer, an entry that cannot be read and a NATS that does not answer exit with
1, and mistakes in the command line with 2.`
}

// Run shows the snapshot.
func (g getCmd) Run(ctx context.Context, s *command.Session) error {
	if g.Feature != "" && g.Limit != "" {
		return command.Misuse(errors.New("--feature and --limit exclude each other"), "ask for one of the two")
	}
	p, name, err := g.Open(ctx, s)
	if err != nil {
		return err
	}
	defer p.NC.Close()
	entries, err := p.Find(ctx, s, name)
	if err != nil {
		return err
	}
	if g.JSON && name.ID == "" && len(entries) == 1 {
		// As it is stored, whether or not this version understands it.
		if _, err := fmt.Fprintf(s.Out, "%s\n", entries[0].Data); err != nil || g.Feature == "" && g.Limit == "" {
			return err
		}
	}
	var c entitlement.Customers
	var revisions []uint64
	for _, e := range entries {
		snapshot, err := command.Decoded(e)
		if err != nil {
			return err
		}
		c.Snapshots, revisions = append(c.Snapshots, &snapshot), append(revisions, e.Revision)
	}
	documents, byDefault := p.Documents(ctx)
	if c.Default = byDefault; g.JSON && name.ID != "" {
		if err := g.printID(s, name.ID, c); err != nil {
			return err
		}
	}
	switch {
	case g.Feature != "" || g.Limit != "":
		return g.answer(s, p, name, c, documents)
	case g.JSON && len(entries) > 0:
		return nil
	case len(entries) == 1:
		tell.Snapshot(s.Out, c.Snapshots[0], revisions[0], s.Now())
		return nil
	case name.ID != "" && !g.JSON && (len(entries) > 0 || c.Default != nil):
		tell.Customers(s.Out, name.ID, c, revisions, documents, s.Now())
	}
	if len(entries) == 0 {
		return command.Nobody(name, p.Mode)
	}
	return nil
}

// answer says yes or no, on standard output unless that is for JSON. The default answers for an unknown
// customer; if it says nothing about the question, the error says that the customer is unknown.
func (g getCmd) answer(s *command.Session, p *command.Pipeline, n named.Name, c entitlement.Customers,
	documents tell.Documents) error {
	now := s.Now()
	yes, text := false, ""
	if g.Feature != "" {
		yes, text = tell.Why(c, g.Feature, now)
		text = g.Feature + ": " + text
	} else {
		limit, known, why := tell.WhyLimit(c, documents, g.Limit, now)
		yes, text = limit > 0, fmt.Sprintf("%s %s %s", g.Limit, limit, why)
		if len(c.Snapshots) == 0 && !known {
			return command.Nobody(n, p.Mode)
		}
	}
	if len(c.Snapshots) == 0 && !yes && g.Feature != "" {
		return command.Nobody(n, p.Mode)
	}
	word := s.Out.Paint(term.Denies, "no")
	if yes {
		word = s.Out.Paint(term.Grants, "yes")
	}
	if !g.JSON {
		fmt.Fprintf(s.Out, "%s %s\n", word, term.Printable(text))
	}
	if !yes {
		return command.ErrSilent
	}
	return nil
}

// printID prints what the customers with an id have together.
func (g getCmd) printID(s *command.Session, id string, c entitlement.Customers) error {
	return s.Encode(tell.NewIDLine(id, c, s.Now()))
}
