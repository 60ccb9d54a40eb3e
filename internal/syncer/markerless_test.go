package syncer

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
)

// Only the failure of a sync whose marker still waits is held against its customer: nobody tries the others again.
func TestFailureWithoutItsMarker(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator(quiet).s
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		// before is what became of the marker while its sync was under way.
		before func(t task)
		counts bool
	}{
		{"it waits", func(task) {}, true},
		{"it was replaced", func(t task) { r.mark(t.customer) }, false},
		{"it is done", func(tk task) {
			if err := stream.DeleteMsg(t.Context(), tk.seq); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		for _, answer := range []error{
			&stripeapi.Error{Status: http.StatusInternalServerError},
			&stripeapi.Error{Status: http.StatusBadRequest},
			&stripeapi.Error{Status: http.StatusForbidden, Account: "acct_1"},
			&stripeapi.Error{Status: http.StatusOK, Err: stripeapi.ErrNotWhole},
		} {
			customer := r.customer()
			r.mark(customer)
			m, err := r.marker(customer)
			if err != nil {
				t.Fatal(err)
			}
			tk := task{customer: customer, lane: stripeevent.Now, subject: m.Subject, seq: m.Sequence, received: m.Time}
			c.before(tk)
			done, delay := s.failed(t.Context(), tk, Record{StartedAt: time.Now()}, answer)
			if f, failing := r.failure(customer); failing != c.counts {
				t.Errorf("%s, %v: counted %v as %+v, want %v", c.name, answer, failing, f, c.counts)
			}
			if n := len(r.records(customer)); n == 1 != c.counts {
				t.Errorf("%s, %v: %d records", c.name, answer, n)
			}
			// It was not found, perhaps by a replica that lags: it must not be acknowledged for that.
			if !c.counts && (done || delay <= 0) {
				t.Errorf("%s, %v: done %v, tried again after %s", c.name, answer, done, delay)
			}
		}
	}
}

// A request that fails tells whoever asked. It leaves no customer to be tried again, for nobody does, parks and unparks none, and is
// recorded for those whom the bucket has: anybody may ask for any id.
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
	madeUp, theirs := ours("cus_madeUp"), stripeevent.Customer{Mode: entitlement.Test, Account: "acct_1Gone", ID: "cus_theirs"}
	for _, status := range []int{500, 400} {
		r.sim.SetFaults(stripesim.Faults{Poison: map[string]int{known.ID: status, parked.ID: status, madeUp.ID: status}})
		for _, c := range []stripeevent.Customer{known, parked, madeUp, theirs} {
			if code := ask(c); code != "502" {
				t.Errorf("%s, Stripe answers %d: code %q, want 502", c, status, code)
			}
		}
	}
	for _, c := range []stripeevent.Customer{known, madeUp, theirs} {
		if f, failing := r.failure(c); failing {
			t.Errorf("%s has an entry, and nobody tries it again: %+v", c, f)
		}
	}
	if after, _ := r.failure(parked); after.ParkedAt == nil || !after.LastAt.Equal(before.LastAt) || after.Attempts != before.Attempts {
		t.Errorf("parked as %+v, after failing requests %+v", before, after)
	}
	for c, want := range map[stripeevent.Customer]int{known: 2, parked: 2, madeUp: 0, theirs: 0} {
		failed := 0
		for _, rec := range r.records(c) {
			if rec.Outcome == Failed && rec.Trigger == stripeevent.TriggerRequest && rec.Error != "" && rec.Revision == 0 {
				failed++
			}
		}
		if failed != want {
			t.Errorf("%s has %d records of failed requests, want %d", c, failed, want)
		}
	}
	if err := ready.err(conditionStripe); err != nil {
		t.Errorf("unready for what somebody asked: %v", err)
	}

	r.sim.SetFaults(stripesim.Faults{})
	if code := ask(parked); code != "" {
		t.Errorf("code %s, want a snapshot", code)
	}
	if f, failing := r.failure(parked); failing {
		t.Errorf("still parked after a request that succeeded: %+v", f)
	}
}
