package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// A customer of a connected account may be named as this tool prints it and as its key in the
// bucket is, in every command.
func TestCustomersOfConnectedAccounts(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	gus := stripeevent.Customer{Mode: entitlement.Test, Account: "acct_EU", ID: "cus_Gus"}
	snapshot := snapshotOf(gus.ID, "active", []string{"export"}, subscribed("sub_1", "active", "pro_monthly"))
	snapshot.Account = gus.Account
	m.answer(t, func(question []byte) *nats.Msg {
		reply := nats.NewMsg("")
		if string(question) != `{"account":"acct_EU","customer":"cus_Gus"}` {
			reply.Header.Set("Nats-Service-Error", "asked for "+string(question))
			reply.Header.Set("Nats-Service-Error-Code", "400")
		}
		reply.Data = fmt.Appendf(nil, `{"snapshot":%s,"revision":7}`, snapshot.Encode())
		return reply
	})
	m.park(t, gus)
	for i, name := range []string{"acct_EU/cus_Gus", "acct_EU.cus_Gus"} {
		m.postOf(t, gus, fmt.Sprintf("evt_g%d", i), "invoice.paid", "")
		m.put(t, &snapshot)
		for _, tc := range []struct{ args, want string }{
			{"get " + name, "✓ acct_EU/cus_Gus  access, active"},
			{"get cus_Gus --account acct_EU", "✓ acct_EU/cus_Gus  access, active"},
			{"get --account acct_EU " + name, "✓ acct_EU/cus_Gus  access, active"},
			{"sync " + name, "✓ acct_EU/cus_Gus  access, active"},
			{"watch --for 300ms " + name + " acct_EU/cus_Gus", "watching 1 customer by name of mode test"},
			{"watch --for 300ms " + name, "✓ acct_EU/cus_Gus  "},
			{"explain " + name, "✓ acct_EU/cus_Gus  access, active"},
			{"events --customer " + name, "1 event · test mode · account acct_EU · cus_Gus"},
			{"replay --dry-run --customer " + name, "1 customer in 1 event · test mode · account acct_EU · cus_Gus"},
			{"parked --redrive " + name + ",acct_EU/cus_Gus", "1 customer will be tried again"},
			{"forget --yes " + name, "✓ forgot acct_EU/cus_Gus in test mode: 1 event"},
		} {
			if out, errs := m.run(t, 0, strings.Fields(tc.args)...); !strings.Contains(out, tc.want) {
				t.Errorf("%s: no %q in\n%s%s", tc.args, tc.want, out, errs)
			}
		}
		m.park(t, gus)
	}
}

func TestCustomerRefused(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "acct_EU/cus_X", "--account", "acct_FR"},
			"customer \"acct_EU/cus_X\" is not of --account acct_FR: name the account once\n  hint: entitled get cus_…"},
		{[]string{"get", "acct_EU.cus_X", "--account", "acct_FR"},
			"customer \"acct_EU.cus_X\" is not of --account acct_FR: name the account once\n  hint: entitled get cus_…"},
		{[]string{"events", "--customer", "acct_EU/cus_X", "--account", "self"},
			"customer \"acct_EU/cus_X\" is not of --account self: name the account once\n"},
		{[]string{"explain", ""}, "entitled explain: no customer is named\n  hint: entitled explain cus_…, your own id, or acct_…/cus_… for one"},
		{[]string{"forget", "id:"}, "entitled forget: no customer is named\n  hint: entitled forget cus_…"},
		{[]string{"sync", "key:acct_EU/"}, "entitled sync: customer \"key:acct_EU/\": key token is empty\n  hint: entitled sync cus_…"},
		{[]string{"sync", "key:acct_EU."}, "entitled sync: customer \"key:acct_EU.\": key token is empty\n  hint: entitled sync cus_…"},
		{[]string{"watch", "cus_A", "key:user@example"}, "entitled watch: customer \"key:user@example\": key token"},
		{[]string{"get", "key:EU.cus_X"}, "entitled get: account \"EU\": ids of connected accounts begin with acct_\n  hint: entitled get cus_…"},
		{[]string{"get", "id:42", "--account", "acct_EU"}, "customer \"id:42\" is an id, and --account acct_EU names a connected account"},
		{[]string{"events", "--account", "cus_X"},
			"entitled events: account \"cus_X\": ids of connected accounts begin with acct_\n"},
		{[]string{"events", "--customer", "key:acct_EU/"}, "hint: entitled events --customer cus_…"},
		{[]string{"parked", "--redrive", "key:acct_EU/"}, "hint: entitled parked --redrive cus_…"},
	} {
		if out, errs := m.run(t, 2, tc.args...); out != "" || !strings.Contains(errs, tc.want) {
			t.Errorf("%q: no %q in\n%s%s", tc.args, tc.want, out, errs)
		}
	}
	// An unset shell variable neither grants access nor selects all customers.
	for _, command := range []string{"get cus_A --feature", "replay --customer", "replay --since", "replay --type",
		"events --until", "explain cus_A --at", "recover --since", "parked --redrive"} {
		args := strings.Fields(command)
		if out, errs := m.run(t, 2, append(args, "")...); out != "" ||
			!strings.Contains(errs, args[len(args)-1]+" is empty\n  hint: leave it out") {
			t.Errorf("%s '': %s%s", command, out, errs)
		}
	}
	// A customer of a connected account is named without its account: the error says how to name it.
	const named = "customers of connected accounts are named acct_…/cus_…"
	for _, command := range []string{"get", "explain", "forget"} {
		if _, errs := m.run(t, 1, command, "cus_Gus"); !strings.Contains(errs, named) {
			t.Errorf("%s of an unknown customer: %s", command, errs)
		}
		if _, errs := m.run(t, 1, command, "acct_EU/cus_Gus"); strings.Contains(errs, named) {
			t.Errorf("%s of an unknown customer in a connected account: %s", command, errs)
		}
	}
}
