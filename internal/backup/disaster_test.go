package backup

import (
	"errors"
	"slices"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A company loses all its servers and disks ten days after a backup under load, and is restored on
// three servers. The first restore dies half way. The operator only restores and starts the
// programs.
func TestOneToThree(t *testing.T) {
	if testing.Short() {
		t.Skip("with the race detector three servers on two cores answer later than a restore waits")
	}
	t.Parallel()
	one := natstest.Run(t)
	c := newCompany(t)
	lost := c.lose(one, 1)
	one.RemoveStore()

	three := natstest.Cluster(t, 3)
	_, err := Restore(t.Context(), three.Conn(t), lost.dir, Options{Replicas: 3, after: stopAt(topology.SyncedStream)})
	if !errors.Is(err, errStopHere) {
		t.Fatalf("the first restore ended with %v", err)
	}
	report, err := Restore(t.Context(), three.Conn(t), lost.dir, Options{Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Removed) == 0 {
		t.Error("the second restore removed nothing of the first")
	}
	c.whole(three, 3, lost)
}

// The same from three servers to one.
func TestThreeToOne(t *testing.T) {
	if testing.Short() {
		t.Skip("with the race detector three servers on two cores answer later than a restore waits")
	}
	t.Parallel()
	three := natstest.Cluster(t, 3)
	c := newCompany(t)
	lost := c.lose(three, 3)
	for _, s := range three.Servers {
		s.RemoveStore()
	}
	one := natstest.Run(t)
	if _, err := Restore(t.Context(), one.Conn(t), lost.dir, Options{}); err != nil {
		t.Fatal(err)
	}
	c.whole(one, 1, lost)
}

// A loss is the known state of a company that lost its servers.
type loss struct {
	dir string
	// first is a customer; writes is the number of writes in its story, of which at is the first.
	first  stripeevent.Customer
	writes int
	since  time.Time
}

// A customer changes at each step of a backup's progress, from its begin to its end, but not at all
// of them: a busy machine would take more steps, and more customers would change.
const fewestChanged, mostChanged = 20, 200

// lose runs a company on servers, backs it up, and stops it ten days later.
func (c *company) lose(on servers, replicas int) loss {
	c.t.Helper()
	if replicas > 1 {
		topologyOf(c.t, on.JetStream(c.t), replicas)
	}
	stop := c.run(on, replicas)
	own, connected := c.sim.Account, c.sim.Connect(connectedAccount)
	c.found(own, ownCustomers)
	c.found(connected, connectedCustomers)
	c.quiet()
	js := on.JetStream(c.t)
	c.settled(js)
	sub, _ := own.Subscription(c.subs[own][0])
	l := loss{dir: c.t.TempDir(), first: stripeevent.Customer{Mode: entitlement.Test, ID: sub.Customer}}
	if l.writes, l.since = c.writes(js, l.first); l.writes == 0 {
		c.t.Fatal("explain knows nothing of the first customer")
	}
	changed := 0
	whileChanging := Options{Progress: func(string, int64, int64) {
		if changed < mostChanged {
			c.change(own, changed%20)
			changed++
		}
	}}
	if _, err := Take(c.t.Context(), on.Conn(c.t), l.dir, whileChanging); err != nil {
		c.t.Error(err)
	}
	c.t.Logf("%d changes during the backup", changed)
	if changed < fewestChanged {
		c.t.Errorf("%d changes during the backup, want at least %d", changed, fewestChanged)
	}
	c.sim.Advance(10 * 24 * time.Hour)
	c.upheaval(own, connected)
	stop()
	return l
}

// whole runs a company on restored servers, and waits until nothing is missing.
func (c *company) whole(on servers, replicas int, before loss) {
	c.t.Helper()
	c.timing.OnTheWay = 0 // every webhook is delivered or given up: lose has waited for that
	c.run(on, replicas)
	js := on.JetStream(c.t)
	c.settled(js)
	c.logged(js)
	if n, at := c.writes(js, before.first); n < before.writes || !at.Equal(before.since) {
		c.t.Errorf("explain shows %d writes since %s, before the loss of %d since %s",
			n, at, before.writes, before.since)
	}
}

// upheaval changes 200 customers, half of them without a webhook and some without an event, adds
// 50, and deletes 10.
func (c *company) upheaval(own, connected *stripesim.Account) {
	c.t.Helper()
	for i := 20; i < 120; i++ {
		c.change(own, i)
	}
	for range 25 {
		c.join(own)
	}
	c.quiet()
	c.sim.SetFaults(stripesim.Faults{WebhookDrop: 1})
	for i := 120; i < 190; i++ {
		c.change(own, i)
	}
	for i := range c.subs[connected] {
		c.change(connected, i)
	}
	for range 25 {
		c.join(own)
	}
	for range 10 {
		last := len(c.subs[own]) - 60 // an earlier one
		s, _ := own.Subscription(c.subs[own][last])
		c.subs[own] = slices.Delete(c.subs[own], last, last+1)
		c.must(own.DeleteCustomer(s.Customer))
	}
	c.sim.SetFaults(stripesim.Faults{NeverGenerated: 1})
	for i := 190; i < 220; i++ {
		c.change(own, i)
	}
	c.sim.SetFaults(stripesim.Faults{})
	c.quiet()
}
