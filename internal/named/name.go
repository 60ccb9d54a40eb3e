package named

import (
	"errors"
	"fmt"
	"strings"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// longest is the length in bytes of the longest name: Stripe's metadata values end at 500 characters, and
// [entitlement.ParseKey] refuses longer keys.
const longest = 2000

// Own is the account of a name that can only be of your own account.
const Own = "self"

// A Name is the argument of a command: a customer's key, or your own id of customers.
type Name struct {
	// Customer is the customer whose key it is; zero for an id. It has no mode.
	Customer stripeevent.Customer
	// ID is your own id, "" for a key.
	ID string
}

// Parse reads an argument as the readers of package entitlement do, see [entitlement.ParseRef], and
// takes a customer of a connected account also as this tool prints it: acct_…/cus_…. account is the
// value of --account: "" for none, [Own], or the connected account of the customer. Ids are of your
// own account's customers, so with a connected account every argument is a key.
func Parse(arg, account string) (Name, error) {
	if err := CheckAccount(account); err != nil {
		return Name{}, err
	}
	if len(arg) > longest {
		return Name{}, fmt.Errorf("the name has %d bytes, and none of a customer is longer than %d", len(arg), longest)
	}
	connected := account != "" && account != Own
	name, isID := entitlement.ParseRef(dotted(arg))
	prefixed := strings.HasPrefix(arg, "id:") || strings.HasPrefix(arg, "key:")
	switch {
	case name == "":
		return Name{}, errors.New("no customer is named")
	case isID && prefixed && connected:
		return Name{}, fmt.Errorf("customer %q is an id, and --account %s names a connected account: ids are of your "+
			"own account's customers", arg, account)
	case isID && !connected:
		return Name{ID: name}, nil
	}
	c := stripeevent.Customer{ID: name}
	if prefixed || strings.HasPrefix(name, "acct_") {
		var err error
		if c.Account, c.ID, err = entitlement.ParseKey(name); err != nil {
			return Name{}, fmt.Errorf("customer %q: %w", arg, err)
		}
	}
	switch {
	case account == Own && c.Account != "", connected && c.Account != "" && c.Account != account:
		return Name{}, fmt.Errorf("customer %q is not of --account %s: name the account once", arg, account)
	case connected:
		c.Account = account
	}
	if _, _, err := entitlement.ParseKey(c.Key()); err != nil { // too long when it is escaped
		return Name{}, fmt.Errorf("customer %q: %w", arg, err)
	}
	return Name{Customer: c}, CheckAccount(c.Account)
}

// dotted returns the argument with the key for acct_…/cus_….
func dotted(arg string) string {
	rest, keyed := strings.CutPrefix(arg, "key:")
	account, customer, slash := strings.Cut(rest, "/")
	if !slash || !keyed && !strings.HasPrefix(customer, "cus_") || !strings.HasPrefix(account, "acct_") {
		return arg
	}
	return "key:" + entitlement.Key(account, customer)
}

// CheckAccount refuses a value of --account that is neither "" nor [Own] nor a connected account's id:
// nothing would be known of it.
func CheckAccount(account string) error {
	if account == "" || account == Own || strings.HasPrefix(account, "acct_") {
		return nil
	}
	return fmt.Errorf("account %q: ids of connected accounts begin with acct_", account)
}

// String returns the name as an argument.
func (n Name) String() string {
	if n.ID != "" {
		return n.ID
	}
	return Argument(n.Customer)
}

// Ref returns the name as package entitlement takes it.
func (n Name) Ref() string {
	if n.ID != "" {
		return "id:" + n.ID
	}
	return "key:" + n.Customer.Key()
}

// Argument returns the argument of a command that names the customer: its id, acct_…/cus_… for one of
// a connected account, or its key with the prefix key: if that would be read as your own id.
func Argument(c stripeevent.Customer) string {
	if n, err := Parse(c.String(), ""); err == nil && n.Customer.Account == c.Account && n.Customer.ID == c.ID {
		return c.String()
	}
	return "key:" + c.Key()
}
