package audit_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

func (r *rig) operator() *syncer.Operator {
	r.Helper()
	o, err := r.syncer().Operate(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return o
}

func (r *rig) bucket(name string) jetstream.KeyValue {
	r.Helper()
	kv, err := r.js.KeyValue(r.Context(), name)
	if err != nil {
		r.Fatal(err)
	}
	return kv
}

func (r *rig) inBucket(c stripeevent.Customer) bool {
	r.Helper()
	_, err := r.bucket(entitlement.Bucket(c.Mode)).Get(r.Context(), c.Key())
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		r.Fatal(err)
	}
	return err == nil
}

// Who is forgotten without ever having had a snapshot is as safe from what was read of Stripe before as one who had one: the bucket says that
// something was taken away.
func TestForgottenWithoutASnapshot(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"of an empty bucket": false, "of a bucket in use": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if used {
				// Puts its policy in force, which a bucket that others filled has none of.
				if _, err := r.operator().Backfill(t.Context(), syncer.SweepOptions{}); err != nil {
					t.Fatal(err)
				}
				if _, err := r.bucket(entitlement.Bucket(entitlement.Test)).Put(t.Context(), "cus_other", []byte("{}")); err != nil {
					t.Fatal(err)
				}
			}
			c, _ := r.buy()
			other, _ := r.buy()
			r.drain()
			held := r.sim.Hold(func(*stripesim.Request) bool { return true })
			done := make(chan syncer.SweepReport, 1)
			go func() { // done receives
				report, err := r.operator().Backfill(t.Context(), syncer.SweepOptions{})
				if err != nil {
					t.Errorf("backfill: %v", err)
				}
				done <- report
			}()
			if _, err := held.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.sim.Silent().DeleteCustomer(c.ID); err != nil {
				t.Fatal(err)
			}
			if erased, err := r.log.Forget(t.Context(), c); err != nil || erased.Entries != 0 || erased.Markers == 0 {
				t.Fatalf("forgot %+v (%v), want a marker and no entry", erased, err)
			}
			held.Release()
			if report := <-done; report.Left != 1 || report.Created != 1 {
				t.Errorf("report %+v, want the forgotten one left and the other created", report)
			}
			if r.inBucket(c) || !r.inBucket(other) {
				t.Errorf("in the bucket: the forgotten one %t, the other %t", r.inBucket(c), r.inBucket(other))
			}
		})
	}
}

// drain waits until all webhooks were taken.
func (r *rig) drain() {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := r.sim.Quiet(ctx); err != nil {
		r.Fatal(err)
	}
}

// An interrupted backfill keeps what it read. Nothing of it is left of who was deleted and forgotten, who does not come back when the backfill
// is started again; nor is it, if no more than that is known of the customer, taken for nothing. Of others, it stays.
func TestForgottenWithPagesKept(t *testing.T) {
	t.Parallel()
	for name, account := range map[string]string{"one's own": "", "of a connected account": "acct_1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.door.closed.Store(true)
			acct := r.sim.Silent()
			if account != "" {
				acct = r.sim.Connect(account)
				if err := acct.DemoCatalog(); err != nil {
					t.Fatal(err)
				}
			}
			c := stripeevent.Customer{Mode: entitlement.Test, Account: account, ID: r.customerOf(acct)}
			other := stripeevent.Customer{Mode: entitlement.Test, Account: account, ID: r.customerOf(acct)}
			r.interruptedBackfill(account)
			if err := acct.DeleteCustomer(c.ID); err != nil {
				t.Fatal(err)
			}
			stranger := stripeevent.Customer{Mode: entitlement.Test, Account: account, ID: "cus_stranger"}
			if _, err := r.log.Forget(t.Context(), stranger); err != nil {
				t.Fatal(err)
			}
			if had, err := r.log.Remembered(t.Context(), c); err != nil || had != (audit.Erased{Pages: 1}) {
				t.Errorf("remembered %+v (%v), want the page", had, err)
			}
			if erased, err := r.log.Forget(t.Context(), c); err != nil || erased != (audit.Erased{Pages: 1}) {
				t.Errorf("forgot %+v (%v), want the page", erased, err)
			}
			if left, err := r.log.Remembered(t.Context(), c); err != nil || !left.Zero() {
				t.Errorf("left %+v (%v), want nothing", left, err)
			}
			report, err := r.operator().Backfill(t.Context(), syncer.SweepOptions{Account: account})
			if err != nil || report.Resumed != 0 || report.Created != 1 {
				t.Errorf("backfill %+v, %v; want it to start over, and to create the other", report, err)
			}
			if r.inBucket(c) || !r.inBucket(other) {
				t.Errorf("in the bucket: the forgotten one %t, the other %t", r.inBucket(c), r.inBucket(other))
			}
		})
	}
}

// customerOf has a customer subscribe to Pro, with nobody told.
func (r *rig) customerOf(a *stripesim.Account) string {
	r.Helper()
	id, err := a.CreateCustomer(stripesim.CustomerParams{Metadata: map[string]string{"name": "C"}})
	if err != nil {
		r.Fatal(err)
	}
	_, err = a.CreateSubscription(stripesim.SubscriptionParams{Customer: id, Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}}})
	if err != nil {
		r.Fatal(err)
	}
	return id
}

// interruptedBackfill ends a backfill that has kept its first page, before it wrote anything.
func (r *rig) interruptedBackfill(account string) {
	r.Helper()
	ctx, kill := context.WithCancel(r.Context())
	defer kill()
	_, err := r.operator().Backfill(ctx, syncer.SweepOptions{Account: account, Progress: func(p syncer.SweepReport) {
		if p.Pages > 0 {
			kill()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		r.Fatalf("interrupted backfill: %v", err)
	}
}

// A customer that was forgotten without ever having had a snapshot is written once it is synced again.
func TestForgottenAndBack(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(*rig, stripeevent.Customer){
		"with a backfill": func(r *rig, _ stripeevent.Customer) {
			if report, err := r.operator().Backfill(r.Context(), syncer.SweepOptions{}); err != nil || report.Created != 1 {
				r.Errorf("backfill: %+v, %v", report, err)
			}
		},
		"with a sync": func(r *rig, c stripeevent.Customer) {
			r.start()
			r.mark(c, stripeevent.TriggerReplay)
			r.settle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c, _ := r.buy()
			r.drain()
			if _, err := r.log.Forget(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			back(r, c)
			if !r.inBucket(c) {
				t.Error("it is not back, and Stripe has it")
			}
		})
	}
}

// A NATS that was restarted without a syncer has no bucket in memory: all else is there to be read, and to be forgotten.
func TestWithoutThePace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("evt_1", "", "cus_a", "invoice.paid")
	if err := r.js.DeleteKeyValue(t.Context(), topology.PaceBucket); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.log, err = audit.Open(t.Context(), r.js); err != nil {
		t.Fatal(err)
	}
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_a"}
	if s := r.story(c); len(s.Steps) != 1 {
		t.Errorf("story %+v, want the event", s)
	}
	if erased, err := r.log.Forget(t.Context(), c); err != nil || erased != (audit.Erased{Events: 1}) {
		t.Errorf("forgot %+v: %v", erased, err)
	}
}
