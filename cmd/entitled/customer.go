package main

import (
	"errors"
	"fmt"
	"strings"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// customerForms is how customers are written, in helps.
const customerForms = "cus_…; acct_…/cus_… or acct_….cus_… for one of a connected account"

// customer reads the name of one customer: its id, and before it the connected account, as this tool prints it, acct_…/cus_…, or as the
// bucket has it, acct_….cus_…. account is --account. before is what stands before the name on the command line.
func (s *session) customer(before, arg, account string, m entitlement.Mode) (stripeevent.Customer, error) {
	c := stripeevent.Customer{Mode: m, Account: account, ID: arg}
	head, tail, slash := strings.Cut(arg, "/")
	var err error
	switch {
	case slash:
		c.Account, c.ID = head, tail
	case strings.HasPrefix(arg, "acct_") && strings.Contains(arg, "."):
		// Elsewhere a dot is a part of the id: whoever creates a customer may choose it.
		if c.Account, c.ID, err = entitlement.ParseKey(arg); err != nil {
			err = fmt.Errorf("customer %q: %w", arg, err)
		}
	}
	switch {
	case err != nil:
	case c.ID == "":
		err = errors.New("no customer id")
	case slash && c.Account == "":
		err = fmt.Errorf("customer %q: no account before the /", arg)
	case account != "" && c.Account != account:
		return c, usageError{hinted{fmt.Errorf("customer %s is not of --account %s", printable(arg), printable(account)),
			"name the account once: leave out --account, or what stands before the id"}}
	}
	if err != nil {
		return c, usageError{hinted{err, s.command + before + " cus_…, or acct_…/cus_… for one of a connected account"}}
	}
	return c, nil
}

// elsewhere says where a customer that was not found could be, as a phrase.
func elsewhere(c stripeevent.Customer) string {
	if c.Account != "" {
		return "choose with --mode"
	}
	return "choose with --mode; customers of connected accounts are named acct_…/cus_…"
}
