package doctor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/topology"
)

// decided stores a snapshot as a syncer does: with an id, and with a problem if word is not empty.
func (p *patient) decided(key, id, word string, number uint64) {
	p.t.Helper()
	_, customer, err := entitlement.ParseKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: customer, ID: id, PlansRevision: number}
	if word != "" {
		s.Problems = []entitlement.Problem{{Source: "price_1", Word: word, Kind: entitlement.ProblemUnknownWord}}
	}
	p.put(entitlement.Bucket(p.cfg.Modes[0]), key, string(s.Encode()))
}

// lookAtPlans reads the snapshots, and then the plans, as work does.
func (p *patient) lookAtPlans(ctx context.Context) Check {
	p.t.Helper()
	e := p.examination()
	if _, err := e.snapshots(ctx); err != nil {
		p.t.Fatal(err)
	}
	c, err := e.plans(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *patient) sees(want Check) {
	p.t.Helper()
	got := p.lookAtPlans(p.t.Context())
	got.Text = strings.Replace(got.Text, "applied under 1s ago", "applied AGE ago", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("-want +got:\n%s", diff)
	}
}

// TestPlans shows the document in force, how far the snapshots are decided under it, their problems
// and the ids that stand at several of them.
func TestPlans(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	p.cfg.Now = func() time.Time { return time.Time{} } // ages are under a second
	p.sees(Check{State: OK, Text: "no document is applied"})

	b, err := applied.Open(t.Context(), p.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := plans.Parse([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	d.Number = 3
	if err := b.Apply(t.Context(), d, applied.InForce{}, "amelia", ""); err != nil {
		t.Fatal(err)
	}
	const decides = "a syncer decides them again: look at the jobs and at the syncers' log if that does not end"
	const inForce = "document 3 is in force, applied AGE ago by amelia; "
	p.sees(Check{State: Warn, Text: inForce + "the snapshots are not yet decided under it", Next: decides})
	progress := func(v applied.Progress) { p.put(topology.StateBucket, "decided.test", v) }
	progress(applied.Progress{Number: 2, Deciding: 3, Done: 4, Total: 10})
	p.sees(Check{State: Warn, Text: inForce + "4 of about 10 snapshots are decided under document 3", Next: decides})
	progress(applied.Progress{Number: 2, Deciding: 3, Done: 4, Total: 10, By: "host-1 (process 7)"})
	p.cfg.Now = func() time.Time { return time.Now().Add(2 * deadAfter) }
	if c, err := p.examination().plans(t.Context()); err != nil || c.State != Fail ||
		!strings.Contains(c.Text, "the syncer host-1 (process 7) has not reported for ") ||
		!strings.Contains(c.Next, "start one of this mode") {
		t.Errorf("a dead syncer: %+v, %v", c, err)
	}
	p.cfg.Now = func() time.Time { return time.Time{} }
	progress(applied.Progress{Number: 3})
	decided := Check{State: OK, Text: inForce + "every snapshot is decided under it"}
	p.sees(decided)

	// Neither an entry of another program, nor one without an id, nor the same id elsewhere counts.
	p.put(entitlement.Bucket(entitlement.Test), "cus_x", "x")
	p.decided("cus_0", "", "", 3)
	p.decided("cus_1", "", "", 3)
	p.decided("cus_2", "u2", "", 3)
	p.sees(decided)
	p.decided("cus_3", "u3", "entitled_plna", 3)
	p.decided("cus_4", "u4", "entitled_plna", 3)
	p.decided("cus_5", "u4", "", 3)
	p.decided("cus_6", "u3", "", 3)
	p.sees(Check{State: Warn, Text: decided.Text +
		"; 2 snapshots with problems, cus_3 for one: words in Stripe's metadata that grant nothing" +
		"; 2 ids of yours at several customers, \"u3\" for one (cus_3, cus_6): readers unite their grants",
		Next: "`entitled explain cus_3 --mode test` names them; if they are not meant to be one, correct the id in the " +
			"metadata of these customers in Stripe"})
	if c, err := p.examination().plans(t.Context()); err != nil || c.State != OK ||
		c.Text[len(c.Text)-len("not read for problems and shared ids"):] != "not read for problems and shared ids" {
		t.Errorf("without a look at the snapshots: %+v, %v", c, err)
	}
}

// TestUnbound counts customers that pay and have no id, if the document says where ids are.
func TestUnbound(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	p.cfg.Now = func() time.Time { return time.Time{} }
	paying := func(key string, change func(*entitlement.Snapshot)) {
		t.Helper()
		account, customer, err := entitlement.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		s := entitlement.Snapshot{Schema: entitlement.Schema, Account: account, Customer: customer, PlansRevision: 3,
			Subscriptions: []entitlement.Subscription{{ID: "sub_1", Status: "active"}},
			Grants:        []entitlement.Grant{{Source: "sub_1"}}}
		change(&s)
		p.put(entitlement.Bucket(entitlement.Test), key, string(s.Encode()))
	}
	past, ahead := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	paying("cus_9", func(*entitlement.Snapshot) {})
	paying("cus_8", func(s *entitlement.Snapshot) { s.Grants[0].Until = &ahead })
	paying("cus_1", func(s *entitlement.Snapshot) { s.Grants[0].Until = &past })
	paying("cus_2", func(s *entitlement.Snapshot) { s.ID = "u2" })
	paying("cus_3", func(s *entitlement.Snapshot) { s.Grants[0].Source = "customer" })
	paying("cus_4", func(s *entitlement.Snapshot) { s.Grants = nil })
	paying("acct_1.cus_5", func(*entitlement.Snapshot) {})
	b, err := applied.Open(t.Context(), p.js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	inForce := applied.InForce{}
	for number, text := range []string{`{}`, `{"ids":{"metadata":"user_id"}}`} {
		d, _, err := plans.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d.Number = uint64(3 + number)
		if err := b.Apply(t.Context(), d, inForce, "amelia", ""); err != nil {
			t.Fatal(err)
		}
		if inForce, err = b.InForce(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.put(topology.StateBucket, "decided.test", applied.Progress{Number: d.Number})
		want := Check{State: OK, Text: fmt.Sprintf("document %d is in force, applied AGE ago by amelia; every snapshot is "+
			"decided under it", d.Number)}
		if number == 1 {
			want.State = Warn
			want.Text += "; 2 customers with a subscription and without an id of yours, cus_8 for one: an app that asks by " +
				"your ids does not see them"
			want.Next = "name each as `customer` in the body of a checkout of its user, which writes the id, or write it " +
				"into the customer's metadata user_id in Stripe"
		}
		p.sees(want)
	}
}

// TestPlansNotUsable: syncers take no work under such a document, so the check fails.
func TestPlansNotUsable(t *testing.T) {
	t.Parallel()
	const after = ": syncers take no work, and every snapshot stays as it is"
	for name, tt := range map[string]struct {
		spoil func(*patient)
		want  string
	}{
		"lost": {func(p *patient) { p.decided("cus_1", "", "", 4) },
			"there is no document, and document 4 was in force" + after},
		"lost, as the note knows": {func(p *patient) {
			p.put(topology.StateBucket, "decided.test", applied.Progress{Number: 1, Deciding: 5})
		}, "there is no document, and document 5 was in force" + after},
		"older": {func(p *patient) {
			p.put(topology.PlansBucket, "test", `{"number":3}`)
			p.decided("cus_1", "", "", 4)
		}, "document 3 is in force, and document 4 was before" + after},
		"foreign": {func(p *patient) { p.put(topology.PlansBucket, "test", `{}`) },
			"the document cannot be read: the document has no number" + after},
		"deleted": {func(p *patient) {
			p.put(topology.PlansBucket, "test", `{"number":3}`)
			kv, err := p.js.KeyValue(p.t.Context(), topology.PlansBucket)
			if err == nil {
				err = kv.Delete(p.t.Context(), "test")
			}
			if err != nil {
				p.t.Fatal(err)
			}
		}, "the document was deleted" + after},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := admit(t)
			p.topology()
			tt.spoil(p)
			want := Check{State: Fail, Text: tt.want, Next: "`entitled plans log --mode test` lists the documents, and " +
				"`entitled plans apply FILE --mode test` puts one in force"}
			if diff := cmp.Diff(want, p.lookAtPlans(t.Context())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
