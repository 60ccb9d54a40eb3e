package audit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/forget"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/syncer"
	"entitled/stripesim"
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

// Nothing of a forgotten customer is left but that it was forgotten; its neighbour is untouched.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.start()
	c, sub := r.buy()
	neighbour, _ := r.buy()
	r.settle()
	r.refuse(c)
	if err := r.sim.CancelAtPeriodEnd(sub); err != nil {
		t.Fatal(err)
	}
	r.settle()
	stop()
	r.mark(c, stripeevent.TriggerReplay)
	had, err := forget.Count(t.Context(), r.js, c)
	if err != nil || had.Events == 0 || had.Records < 2 || had.Markers != 2 || had.Entries < 2 {
		t.Fatalf("remembered %+v (%v), want events, records, a marker with the check, the snapshot with the failure",
			had, err)
	}
	erased, err := forget.Erase(t.Context(), r.js, c)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(had, erased); d != "" {
		t.Errorf("erased (-remembered +erased):\n%s", d)
	}
	if left, err := forget.Count(t.Context(), r.js, c); err != nil || !left.Zero() {
		t.Errorf("left %+v (%v), want nothing", left, err)
	}
	s := r.story(c)
	if list := syncs(s); len(s.Steps) != 1 || len(list) != 1 || !list[0].Forgotten || s.Now.Snapshot != nil {
		t.Errorf("story %+v, want that it was forgotten and no more", s)
	}
	if view := s.ViewAt(time.Now().Add(-time.Hour)); view.Known {
		t.Errorf("view of before: %+v, want unknown", view)
	}
	if left, err := forget.Count(t.Context(), r.js, neighbour); err != nil || left.Events == 0 || left.Entries == 0 {
		t.Errorf("neighbour: %+v (%v), want all of it", left, err)
	}
}

// Forgetting a customer without a snapshot leaves a removal in the bucket, as for one with a
// snapshot. So an earlier reading of Stripe cannot be written afterwards.
func TestForgottenWithoutASnapshot(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"of an empty bucket": false, "of a bucket in use": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if used {
				// Puts its policy in force, which a bucket that others filled has none of.
				if _, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil {
					t.Fatal(err)
				}
				if _, err := r.bucket(entitlement.Bucket(entitlement.Test)).Put(t.Context(), "cus_other",
					[]byte("{}")); err != nil {
					t.Fatal(err)
				}
			}
			c, _ := r.buy()
			other, _ := r.buy()
			r.drain()
			held := r.sim.Hold(func(*stripesim.Request) bool { return true })
			done := make(chan sweep.Report, 1)
			go func() { // done receives
				report, err := r.operator().Backfill(t.Context(), sweep.Options{})
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
			if erased, err := forget.Erase(t.Context(), r.js, c); err != nil || erased.Entries != 0 ||
				erased.Markers == 0 {
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

// An interrupted backfill keeps what it read. Nothing of it is left of who was deleted and
// forgotten, who does not come back when the backfill is started again; nor is it, if no more than
// that is known of the customer, taken for nothing. Of others, it stays.
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
			if _, err := forget.Erase(t.Context(), r.js, stranger); err != nil {
				t.Fatal(err)
			}
			if had, err := forget.Count(t.Context(), r.js, c); err != nil || had != (forget.Amounts{Pages: 1}) {
				t.Errorf("remembered %+v (%v), want the page", had, err)
			}
			if erased, err := forget.Erase(t.Context(), r.js, c); err != nil || erased != (forget.Amounts{Pages: 1}) {
				t.Errorf("forgot %+v (%v), want the page", erased, err)
			}
			if left, err := forget.Count(t.Context(), r.js, c); err != nil || !left.Zero() {
				t.Errorf("left %+v (%v), want nothing", left, err)
			}
			report, err := r.operator().Backfill(t.Context(), sweep.Options{Account: account})
			if err != nil || report.Resumed != 0 || report.Created != 1 {
				t.Errorf("backfill %+v, %v; want it to start over, and to create the other", report, err)
			}
			if r.inBucket(c) || !r.inBucket(other) {
				t.Errorf("in the bucket: the forgotten one %t, the other %t", r.inBucket(c), r.inBucket(other))
			}
		})
	}
}

// customerOf creates a customer that subscribes to Pro, without webhooks.
func (r *rig) customerOf(a *stripesim.Account) string {
	r.Helper()
	id, err := a.CreateCustomer(stripesim.CustomerParams{Metadata: map[string]string{"name": "C"}})
	if err != nil {
		r.Fatal(err)
	}
	_, err = a.CreateSubscription(stripesim.SubscriptionParams{
		Customer: id, Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}},
	})
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
	_, err := r.operator().Backfill(ctx, sweep.Options{Account: account, Progress: func(p sweep.Report) {
		if p.Pages > 0 {
			kill()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		r.Fatalf("interrupted backfill: %v", err)
	}
}

// A customer that was forgotten without ever having had a snapshot is written once it is synced
// again.
func TestForgottenAndBack(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(*rig, stripeevent.Customer){
		"with a backfill": func(r *rig, _ stripeevent.Customer) {
			if report, err := r.operator().Backfill(r.Context(), sweep.Options{}); err != nil ||
				report.Created != 1 {
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
			if _, err := forget.Erase(t.Context(), r.js, c); err != nil {
				t.Fatal(err)
			}
			back(r, c)
			if !r.inBucket(c) {
				t.Error("it is not back, and Stripe has it")
			}
		})
	}
}
