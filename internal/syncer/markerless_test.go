package syncer

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// A request that fails returns the error to the app. It leaves no failure to retry, because no
// marker would, parks and unparks no customer, and leaves a record only of customers in the bucket,
// because any app may request any id.
func TestFailingRequestIsHeldAgainstNobody(t *testing.T) {
	t.Parallel()
	var ready readiness
	r := newRig(t, func(cfg *Config) { cfg.Ready = ready.set })
	known, parked := r.customer(), r.customer()
	r.start()
	for _, c := range []stripeevent.Customer{known, parked} {
		r.mark(c)
		r.await(c, "none", status(entitlement.StatusNone))
	}
	r.awaitIdle()
	r.sim.SetFaults(stripesim.Faults{Poison: map[string]int{parked.ID: 400}})
	r.mark(parked)
	r.awaitIdle()
	before, _ := r.failure(parked)
	if before.ParkedAt == nil {
		t.Fatalf("%s is not parked: %+v", parked, before)
	}

	nc := r.conn(t)
	ask := func(c stripeevent.Customer) (code string) {
		t.Helper()
		var reply *nats.Msg
		natstest.Eventually(t, patience, func() (err error) {
			body := fmt.Sprintf(`{"customer":%q,"account":%q}`, c.ID, c.Account)
			reply, err = nc.Request(entitlement.SyncSubject(entitlement.Test), []byte(body), patience)
			return err
		})
		return reply.Header.Get("Nats-Service-Error-Code")
	}
	madeUp, theirs := ours("cus_madeUp"), stripeevent.Customer{Mode: entitlement.Test, Account: "acct_1Gone",
		ID: "cus_theirs"}
	for _, status := range []int{500, 400} {
		r.sim.SetFaults(stripesim.Faults{Poison: map[string]int{known.ID: status, parked.ID: status,
			madeUp.ID: status}})
		for _, c := range []stripeevent.Customer{known, parked, madeUp, theirs} {
			if code := ask(c); code != "502" {
				t.Errorf("%s, Stripe answers %d: code %q, want 502", c, status, code)
			}
		}
	}
	for _, c := range []stripeevent.Customer{known, madeUp, theirs} {
		if f, failing := r.failure(c); failing {
			t.Errorf("%s has an entry, and no marker retries it: %+v", c, f)
		}
	}
	if after, _ := r.failure(parked); after.ParkedAt == nil || !after.LastAt.Equal(before.LastAt) ||
		after.Attempts != before.Attempts {
		t.Errorf("parked as %+v, after failing requests %+v", before, after)
	}
	for c, want := range map[stripeevent.Customer]int{known: 2, parked: 2, madeUp: 0, theirs: 0} {
		failed := 0
		for _, rec := range r.records(c) {
			if rec.Outcome == record.Failed && rec.Trigger == stripeevent.TriggerRequest && rec.Error != "" &&
				rec.Revision == 0 {
				failed++
			}
		}
		if failed != want {
			t.Errorf("%s has %d records of failed requests, want %d", c, failed, want)
		}
	}
	if err := ready.err(conditionStripe); err != nil {
		t.Errorf("unready after a request of an app: %v", err)
	}

	r.sim.SetFaults(stripesim.Faults{})
	if code := ask(parked); code != "" {
		t.Errorf("code %s, want a snapshot", code)
	}
	if f, failing := r.failure(parked); failing {
		t.Errorf("still parked after a request that succeeded: %+v", f)
	}
}
