package syncer

import (
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

// Who asks while a customer is read gets the next reading, with all who ask until then; another customer's is not waited for.
func TestReadingsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			all  readings
			runs sync.WaitGroup
			made atomic.Int32
		)
		ask := func(c stripeevent.Customer) *sharedSync {
			return all.ask(c, func() (synced, error) {
				n := made.Add(1)
				<-time.After(time.Second)
				return synced{record: Record{Revision: uint64(n)}}, nil
			}, runs.Go)
		}
		expect := func(what string, s *sharedSync, revision uint64, after time.Duration) {
			t.Helper()
			began := time.Now()
			<-s.done
			if s.res.record.Revision != revision || time.Since(began) != after {
				t.Errorf("%s: reading %d after %s, want %d after %s", what, s.res.record.Revision, time.Since(began), revision, after)
			}
		}
		a, b := ours("cus_a"), ours("cus_b")
		first := ask(a)
		synctest.Wait()
		others := []*sharedSync{ask(a), ask(a), ask(a)}
		other := ask(b)
		expect("who asked first", first, 1, time.Second)
		expect("another customer", other, 2, 0)
		synctest.Wait()
		late := ask(a)
		for _, s := range others {
			if s != others[0] {
				t.Error("those who asked meanwhile have readings of their own")
			}
		}
		expect("who asked meanwhile", others[0], 3, time.Second)
		expect("who asked during that one", late, 4, time.Second)
		runs.Wait()
		if len(all.next) != 0 {
			t.Errorf("%d customers are still being read", len(all.next))
		}
		expect("who asked when all were done", ask(a), 5, time.Second)
		runs.Wait()
	})
}

// Twenty who ask at once are all answered, each from a reading that began after it asked, and there are fewer readings than they are.
func TestManyRequestsForOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.customer()
	sub := r.subscribe(c)
	r.start()
	nc := r.conn(t)
	ask := func() (status string) {
		natstest.Eventually(t, patience, func() error {
			reply, err := nc.Request(entitlement.SyncSubject(entitlement.Test), []byte(`{"customer":"`+c.ID+`","account":""}`), patience)
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
