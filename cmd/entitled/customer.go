package main

import (
	"errors"
	"fmt"
	"strings"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
)

// customerForms is how customers are written, in helps.
const customerForms = "cus_…; acct_…/cus_… or acct_….cus_… for one of a connected account"

// customer reads the name of one customer: its id, and before it the connected account, as this tool prints it, acct_…/cus_…, or as the
// bucket has it, acct_….cus_…. account is --account, [audit.Own] for none. before is what stands before the name on the command line.
func (s *session) customer(before, arg, account string, m entitlement.Mode) (stripeevent.Customer, error) {
	c := stripeevent.Customer{Mode: m, ID: arg}
	if account != audit.Own {
		c.Account = account
	}
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
	case checkAccount(c.Account) != nil:
		return c, checkAccount(c.Account)
	case account == audit.Own && c.Account != "", account != "" && account != audit.Own && c.Account != account:
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

// checkAccount refuses what is no connected account's id: a slip would be an account of which nothing is known.
func checkAccount(account string) error {
	if account == "" || account == audit.Own || strings.HasPrefix(account, "acct_") {
		return nil
	}
	return usageError{hinted{fmt.Errorf("account %q: ids of connected accounts begin with acct_", account), "leave the account out for customers of your own"}}
}
