package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// Data that refers to other data is copied first. In the other order, the cursor of recover is
// ahead of the log, which hides an event that the log lacks; and a customer's record is ahead of
// it, so that a later event counts as synced.
func TestOrder(t *testing.T) {
	t.Parallel()
	other := sources()
	slices.Reverse(other)
	for _, tc := range []struct {
		name   string
		order  []source
		hidden bool
	}{
		{"what vouches first", sources(), false},
		{"the other way round", other, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCompany(t)
			own := c.sim.Account
			dir, lost := c.busyBackup(tc.order)

			srv := natstest.Run(t)
			js := srv.JetStream(t)
			if _, err := Restore(t.Context(), srv.Conn(t), dir, Options{}); err != nil {
				t.Fatal(err)
			}
			c.run(srv, 1)
			c.settled(js)
			c.drained(js)
			if has := c.eventIDs(js)[lost]; has == tc.hidden {
				t.Errorf("the log has the event that came while the backup was taken: %v", has)
			}

			// A webhook whose marker was lost, which coverage must find.
			c.sim.SetFaults(stripesim.Faults{WebhookDrop: 1})
			c.change(own, 2)
			c.sim.SetFaults(stripesim.Faults{})
			before := c.snapshot(js, 2)
			ack, err := js.Publish(t.Context(),
				stripeevent.EventSubject(c.customer(2), "customer.subscription.updated"), []byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			natstest.Eventually(t, patience, func() error {
				c.job(js, "coverage")
				if found = c.snapshot(js, 2) > before; found || c.coveredTo(js) > ack.Sequence {
					return nil
				}
				return errors.New("coverage leaves out what is young")
			})
			if found == tc.hidden {
				t.Errorf("coverage has found the event that came after the restore: %v", found)
			}
		})
	}
}

// busyBackup takes a backup during which, after its first stream, customers change and are synced,
// and recover runs. lost is the first of the events.
func (c *company) busyBackup(order []source) (dir, lost string) {
	c.t.Helper()
	srv := natstest.Run(c.t)
	js := srv.JetStream(c.t)
	stop := c.run(srv, 1)
	own := c.sim.Account
	c.found(own, 5)
	c.quiet()
	c.settled(js)
	c.drained(js)
	dir = c.t.TempDir()
	first := true
	_, err := Take(c.t.Context(), srv.Conn(c.t), dir, Options{order: order, after: func(string) error {
		if !first {
			return nil
		}
		first = false
		c.sim.Advance(time.Hour)
		c.change(own, 2)
		events := own.Events()
		lost = events[len(events)-1].ID
		// Further than recover looks back.
		c.sim.Advance(time.Hour)
		for _, i := range []int{3, 4, 0} {
			c.change(own, i)
		}
		c.quiet()
		c.settled(js)
		c.drained(js)
		c.job(js, "recover")
		marker := stripeevent.EncodeMarker(entitlement.Cause{Trigger: stripeevent.TriggerReplay})
		if _, err := js.Publish(c.t.Context(), stripeevent.SyncSubject(stripeevent.Bulk, c.customer(2)),
			marker); err != nil {
			return err
		}
		c.drained(js)
		return nil
	}})
	c.must(err)
	stop()
	srv.RemoveStore()
	return dir, lost
}

func (c *company) customer(i int) stripeevent.Customer {
	sub, _ := c.sim.Subscription(c.subs[c.sim.Account][i])
	return stripeevent.Customer{Mode: entitlement.Test, ID: sub.Customer}
}

// snapshot returns the revision of a customer's snapshot.
func (c *company) snapshot(js jetstream.JetStream, i int) uint64 {
	c.t.Helper()
	kv, err := js.KeyValue(c.t.Context(), entitlement.Bucket(entitlement.Test))
	c.must(err)
	e, err := kv.Get(c.t.Context(), c.customer(i).Key())
	c.must(err)
	return e.Revision()
}

// coveredTo returns the first sequence that coverage has not covered.
func (c *company) coveredTo(js jetstream.JetStream) uint64 {
	c.t.Helper()
	kv, err := js.KeyValue(c.t.Context(), topology.StateBucket)
	c.must(err)
	e, err := kv.Get(c.t.Context(), "cursor.test.coverage")
	c.must(err)
	var cursor struct{ Seq uint64 }
	c.must(json.Unmarshal(e.Value(), &cursor))
	return cursor.Seq
}

// job runs a job and syncs the customers that it marks.
func (c *company) job(js jetstream.JetStream, name string) {
	c.t.Helper()
	_, err := js.Publish(c.t.Context(), stripeevent.JobSubject(entitlement.Test, name), nil)
	c.must(err)
	c.drained(js)
}

// drained waits until no job and no marker is pending.
func (c *company) drained(js jetstream.JetStream) {
	c.t.Helper()
	natstest.Eventually(c.t, patience, func() error {
		s := stream(c.t, js, topology.SyncStream)
		for _, subjects := range []string{"stripe.job.>", "stripe.sync.>"} {
			info, err := s.Info(c.t.Context(), jetstream.WithSubjectFilter(subjects))
			if err != nil {
				return err
			}
			if n := len(info.State.Subjects); n > 0 {
				return fmt.Errorf("%d of %s are left", n, subjects)
			}
		}
		return nil
	})
}
