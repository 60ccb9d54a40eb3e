package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
)

// newIdentified is customers with ids of yours: Amelia and Boris have the same, Chloe and Dora have one
// each.
func newIdentified(t *testing.T) *planned {
	t.Helper()
	p := newPlanned(t)
	for id, user := range map[string]string{
		"cus_Amelia": "ada@example.com", "cus_Boris": "ada@example.com", "cus_Chloe": "user-7", "cus_Dora": "cus_8",
	} {
		price := map[string]string{"cus_Amelia": "pro_monthly", "cus_Boris": "basic_monthly"}[id]
		s := snapshotOf(id, "active", nil, subscribed("sub_"+id[4:], "active", price))
		s.Metadata["user"] = user
		p.put(t, &s)
	}
	p.plans(t, 0, "ids: {metadata: user}\n"+firstPlans+"  limits: {projects: 1}\n", "apply", "FILE", "--yes")
	p.decide(t)
	return p
}

// Every command that names a customer takes your own id.
func TestIDs(t *testing.T) {
	t.Parallel()
	p := newIdentified(t)
	var asked []string
	p.answer(t, func(question []byte) *nats.Msg {
		var q struct{ Customer string }
		if err := json.Unmarshal(question, &q); err != nil {
			t.Error(err)
		}
		asked = append(asked, q.Customer)
		s := snapshotOf(q.Customer, "active", []string{"fresh"}, subscribed("sub_1", "active", "pro_monthly"))
		reply := nats.NewMsg("")
		reply.Data = []byte(`{"snapshot":` + string(s.Encode()) + `,"revision":7}`)
		return reply
	})
	for _, tc := range []struct {
		code int
		args string
		want []string
	}{
		{0, "get user-7", []string{"✓ cus_Chloe  access, active"}},
		{0, "get id:cus_8", []string{"✓ cus_Dora  access, active"}},
		{1, "get cus_8", []string{"no snapshot of cus_8"}},
		{0, "get ada@example.com", []string{"✓ ada@example.com  access: 2 customers answer together",
			"cus_Amelia cus_Boris", "features export sso view", "limit projects 50 = 50 of plan pro",
			"✓ cus_Amelia  access", "✓ cus_Boris  access"}},
		{0, "get ada@example.com --feature sso", []string{"yes sso: granted by plan pro"}},
		{0, "get ada@example.com --limit seats", []string{"yes seats 1 = 1 × 1 of plan pro"}},
		{0, "get nobody --feature view", []string{"yes view: granted by the default of the plans document"}},
		{0, "get nobody --limit projects", []string{"yes projects 1 = 1 of the default of the plans document"}},
		{0, "get cus_None --feature view", []string{"yes view: granted by the default of the plans document"}},
		{1, "get nobody --feature sso", []string{"no customer has the id nobody in test mode\n  hint: name the customer"}},
		{1, "get nobody --limit seats", []string{"no customer has the id nobody in test mode"}},
		{1, "get nobody", []string{"✗ nobody  no access: no customer has this id", "features view",
			"limit projects 1 = 1 of the default", "no customer has the id nobody in test mode\n  hint: "}},
		{0, "sync user-7", []string{"✓ cus_Chloe"}},
		{0, "sync ada@example.com", []string{"✓ cus_Amelia", "✓ cus_Boris"}},
		{0, "watch --for 300ms user-7", []string{"watching 1 customer by name", "✓ cus_Chloe"}},
		{0, "watch --for 300ms ada@example.com", []string{"✓ cus_Amelia", "✓ cus_Boris"}},
		{0, "events --customer user-7", []string{"1 event · test mode · account self · cus_Chloe"}},
		{0, "events --customer ada@example.com", []string{"3 events · test mode · account self · cus_Amelia, cus_Boris"}},
		{0, "replay --customer user-7 --dry-run", []string{"1 customer in 1 event"}},
		{0, "parked --redrive ada@example.com", []string{"cus_Boris", "1 customer will be tried again"}},
		{1, "parked --redrive user-7", []string{"user-7 is not parked"}},
		{0, "plans diff --customer ada@example.com ../../examples/plans.yaml", []string{"customers 2 in test mode"}},
		{0, "explain --plans ../../examples/plans.yaml user-7", []string{"customers 1 in test mode"}},
		{0, "forget --yes user-7", []string{"✓ forgot cus_Chloe in test mode: 1 event"}},
		{1, "get user-7", []string{"no customer has the id user-7"}},
	} {
		out, errs := p.run(t, tc.code, strings.Fields(tc.args)...)
		if tc.code == 0 {
			errs = ""
		}
		text := strings.Join(strings.Fields(out), " ") + errs
		for _, want := range tc.want {
			if !strings.Contains(text, want) && !strings.Contains(out+errs, want) {
				t.Errorf("%s: no %q in\n%s%s", tc.args, want, out, errs)
			}
		}
	}
	if got := strings.Join(asked, " "); got != "cus_Chloe cus_Amelia cus_Boris" {
		t.Errorf("syncers were asked for %s", got)
	}
	for _, command := range []string{"sync", "explain", "forget --yes", "events --customer", "replay --customer",
		"parked --redrive", "plans diff ../../examples/plans.yaml --customer"} {
		out, errs := p.run(t, 1, append(strings.Fields(command), "nobody")...)
		if out != "" || !strings.Contains(errs, "no customer has the id nobody in test mode\n  hint: name the customer") {
			t.Errorf("%s nobody: %s%s", command, out, errs)
		}
	}
}

// A command that erases or repeats does not choose among several customers.
func TestIDsOfSeveral(t *testing.T) {
	t.Parallel()
	p := newIdentified(t)
	for _, command := range []string{"forget --yes", "replay --customer"} {
		out, errs := p.run(t, 1, append(strings.Fields(command), "ada@example.com")...)
		if out != "" || !strings.Contains(errs, "2 customers have the id ada@example.com: cus_Amelia, cus_Boris\n"+
			"  hint: name one of them") {
			t.Errorf("%s: %s%s", command, out, errs)
		}
	}
	if got := p.markers(t); got != "" {
		t.Errorf("marked %s", got)
	}
	if out, _ := p.run(t, 0, "events"); !strings.Contains(out, "4 events") {
		t.Errorf("forgotten:\n%s", out)
	}
}

// In JSON an id has one form, however many customers have it, and explain a line for each.
func TestIDsJSON(t *testing.T) {
	t.Parallel()
	p := newIdentified(t)
	for _, tc := range []struct {
		code                 int
		id, customers, limit string
	}{
		{0, "ada@example.com", "cus_Amelia cus_Boris", "50"}, {0, "user-7", "cus_Chloe", "1"}, {1, "nobody", "", "1"},
	} {
		out, _ := p.run(t, tc.code, "get", tc.id, "--json")
		var line tell.IDLine
		if err := json.Unmarshal([]byte(out), &line); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if line.ID != tc.id || strings.Join(line.Customers, " ") != tc.customers ||
			len(line.Snapshots) != len(line.Customers) || line.Allowed != (tc.code == 0) ||
			line.Limits["projects"].String() != tc.limit {
			t.Errorf("%s: %s", tc.id, out)
		}
	}
	for _, id := range []string{"cus_Amelia", "cus_Boris"} {
		p.mark(t, id) // or its event has no sync
	}
	out, _ := p.run(t, 0, "explain", "ada@example.com", "--json")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 ||
		!strings.Contains(lines[0], `"customer":"cus_Amelia"`) || !strings.Contains(lines[1], `"customer":"cus_Boris"`) {
		t.Errorf("explain prints\n%s", out)
	}
	text, _ := p.run(t, 0, "explain", "ada@example.com")
	if !strings.Contains(text, "✓ cus_Amelia  access") || !strings.Contains(text, "✓ cus_Boris  access") ||
		!strings.Contains(text, "projects 50 = 50 of plan pro") {
		t.Errorf("explain prints\n%s", text)
	}
}

// A customer whose id in Stripe looks like an id of yours is named with the prefix that hints give.
func TestKeysThatLookLikeIDs(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "user@9"}
	m.postOf(t, c, "evt_9", "invoice.paid", "")
	s := snapshotOf(c.ID, "active", nil)
	m.put(t, &s)
	m.park(t, c)
	if out, _ := m.run(t, 0, "get", "key:user=409"); !strings.Contains(out, "user@9") {
		t.Errorf("get prints\n%s", out)
	}
	out, _ := m.run(t, 0, "explain", "key:user=409")
	if !strings.Contains(strings.Join(strings.Fields(out), " "), "entitled parked --redrive key:user=409") {
		t.Errorf("explain prints\n%s", out)
	}
	m.run(t, 1, "get", "user@9")
}
