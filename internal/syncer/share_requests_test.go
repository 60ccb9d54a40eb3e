package syncer

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// Twenty concurrent requests are all answered, each from a reading that began after it, and there
// are fewer readings than requests.
func TestManyRequestsForOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	r.start()
	nc := r.conn(t)
	ask := func() (status string) {
		natstest.Eventually(t, patience, func() error {
			reply, err := nc.Request(entitlement.SyncSubject(entitlement.Test),
				[]byte(`{"customer":"`+c.ID+`","account":""}`), patience)
			if err == nil && reply.Header.Get("Nats-Service-Error-Code") == "504" {
				err = errors.New(reply.Header.Get("Nats-Service-Error")) // the machine is slow
			}
			if err != nil {
				return err
			}
			var answer struct{ Snapshot entitlement.Snapshot }
			if err := json.Unmarshal(reply.Data, &answer); err != nil {
				t.Errorf("%v: %q", reply.Header, reply.Data)
			}
			status = answer.Snapshot.Status
			return nil
		})
		return status
	}
	if got := ask(); got != "active" {
		t.Fatalf("status %s, want active", got)
	}
	slow := r.stripe.holdNext(c.ID)
	var asking sync.WaitGroup
	asking.Go(func() { ask() })
	r.wait("a reading under way", slow.asked)
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	before := r.sim.Stats().Requests
	for range 20 {
		asking.Go(func() {
			if got := ask(); got != "canceled" {
				t.Errorf("status %s after the subscription was canceled", got)
			}
		})
	}
	close(slow.release)
	asking.Wait()
	if n := r.sim.Stats().Requests - before; n > 10 {
		t.Errorf("%d requests to Stripe for 20 who asked at once", n)
	}
}
