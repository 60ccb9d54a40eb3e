package main

import (
	"context"
	"fmt"
	"time"

	"entitled/entitlement"
)

type getCmd struct {
	Customer string `arg:"" help:"The customer: ${customer}."`
	Account  string `placeholder:"ACCT" help:"The connected account it belongs to, acct_…"`
	Feature  string `narrows:"" placeholder:"KEY" help:"Say whether the customer may use this feature (its lookup key), and exit with 0 only if it may, also with --json."`
	JSON     bool   `name:"json" help:"Print the snapshot as it is stored."`
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (getCmd) Help() string {
	return `Reads the bucket, not Stripe: it works while Stripe is down, and shows how old what it shows is.

	entitled get cus_NffrFeUfNV2Hib
	entitled get cus_NffrFeUfNV2Hib --json | jq .subscriptions
	entitled get cus_NffrFeUfNV2Hib --feature sso && echo welcome

In --json, "access" is as of "as_of": it has ended once "access_until" (unix seconds) has passed. --feature takes that into account.`
}

// answerWithin bounds what a command asks of NATS when nobody has to wait for Stripe.
const answerWithin = 5 * time.Second

// Run shows the snapshot.
func (g getCmd) Run(ctx context.Context, s *session) error {
	mode, err := g.mode(s)
	if err != nil {
		return err
	}
	c, err := s.customer("", g.Customer, g.Account, mode)
	if err != nil {
		return err
	}
	nc, err := g.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	c.Mode = found(ctx, nc, mode)
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	e, err := readEntry(ctx, nc, c)
	if err != nil {
		return err
	}
	if g.JSON {
		// As it is stored, whether or not this version understands it.
		if _, err := fmt.Fprintf(s.out, "%s\n", e.data); err != nil || g.Feature == "" {
			return err
		}
	}
	snapshot, err := e.snapshot()
	switch {
	case err != nil:
		return err
	case g.JSON && snapshot.Has(g.Feature, s.now()):
		return nil
	case g.JSON:
		return errSilent
	case g.Feature != "":
		return answerFeature(s, &snapshot, g.Feature)
	}
	show(s.out, &snapshot, e.revision, s.now())
	return nil
}

func answerFeature(s *session, snapshot *entitlement.Snapshot, feature string) error {
	now := s.now()
	if snapshot.Has(feature, now) {
		fmt.Fprintf(s.out, "%s %s: %s\n", s.out.paint(grants, "yes"), feature, access(snapshot, now))
		return nil
	}
	reason := access(snapshot, now)
	if snapshot.Allowed(now) {
		reason = "not among the features"
	}
	fmt.Fprintf(s.out, "%s %s: %s\n", s.out.paint(denies, "no"), feature, reason)
	return errSilent
}
