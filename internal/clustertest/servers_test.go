package clustertest

import (
	"sync"
	"testing"
	"time"

	"entitled/internal/natsproc"
	"entitled/internal/natstest"
)

func TestMain(m *testing.M) {
	natsproc.Main()
	natstest.Main(m)
}

// Everything that befalls a server, once, while webhooks come: 44 MB of them. First a follower
// lags, which answers a client beside it with what was: the syncer there must neither keep
// customers waiting while the others go on, nor spoil anything; and then the node dies that hands
// out the work. How long customers wait is bounded there. Then servers die, are paused and are cut
// off, one, two and all at once.
func TestServersDie(t *testing.T) {
	if testing.Short() {
		t.Skip("44 MB of events through three servers")
	}
	t.Parallel()
	r := newRig(t, plan{customers: 200, rate: 40, timing: natstest.Timing})
	stop := r.load(40)
	// A follower answers reads once it has been up to date.
	r.pass(time.Second)
	dead := r.lag(700*time.Millisecond, 2*time.Second)
	r.kill("leader of the consumer", time.Second, dead)
	stop()
	// While what the dead node had handed out waits to come again.
	r.pour(16 * megabyte)
	r.checkDelays(r.settle())

	stop = r.load(20)
	defer stop()
	during := func(size int, fault func()) {
		var pouring sync.WaitGroup
		pouring.Go(func() { r.pour(size) })
		t.Cleanup(pouring.Wait) // if the fault ends the test
		fault()
		pouring.Wait()
		r.awaitReady()
	}
	const log, snapshots = "leader of STRIPE_EVENTS", "leader of entitlements"
	during(8*megabyte, func() { r.kill(log, time.Second, r.awaitLeader(log)) })
	during(4*megabyte, func() { r.pause("two", 2*time.Second, 0, 1) })
	during(4*megabyte, func() { r.isolate(snapshots, r.awaitLeader(snapshots), true, 2*time.Second) })
	during(8*megabyte, func() { r.kill("all", time.Second, r.cluster.All()...) })
	during(4*megabyte, func() { r.kill("follower", time.Second, (r.awaitLeader(log)+1)%nodes) })
	stop()
	r.logSum(r.settle())
}
