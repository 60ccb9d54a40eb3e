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

// Everything that befalls a server, once, while 62 MB of webhooks come: on three clusters at the same
// time, because a test of one mostly waits for elections, which take 4 to 9 s.

// First a follower lags, which answers a client beside it with what was: the syncer there must neither
// keep customers waiting while the others go on, nor spoil anything; and then the node dies that hands
// out the work. How long customers wait is bounded here.
func TestServerLags(t *testing.T) {
	r := newLoaded(t)
	stop := r.load(40)
	defer stop()
	// A follower answers reads once it has been up to date.
	r.pass(time.Second)
	dead := r.lag(700*time.Millisecond, 2*time.Second)
	r.kill("leader of the consumer", time.Second, dead)
	stop()
	// While what the dead node had handed out waits to come again.
	r.pour(16 * megabyte)
	r.checkDelays(r.settle())
}

const logLeader, snapshotsLeader = "leader of STRIPE_EVENTS", "leader of entitlements"

// A server dies that leads the log, two are paused, and one is cut off.
func TestServersFail(t *testing.T) {
	r := newLoaded(t)
	stop := r.load(40)
	defer stop()
	r.pour(block)
	r.during(8*megabyte, func() { r.kill(logLeader, time.Second, r.awaitLeader(logLeader)) })
	r.during(4*megabyte, func() { r.pause("two", 2*time.Second, 0, 1) })
	r.during(4*megabyte, func() {
		r.isolate(snapshotsLeader, r.awaitLeader(snapshotsLeader), true, 2*time.Second)
	})
	stop()
	r.logSum(r.settle())
}

// All servers die at once, and then one that follows the log, while the syncers make up for what they
// could not do meanwhile.
func TestServersDie(t *testing.T) {
	r := newLoaded(t)
	stop := r.load(40)
	defer stop()
	r.pour(block)
	r.during(8*megabyte, func() { r.kill("all", time.Second, r.cluster.All()...) })
	r.during(4*megabyte, func() { r.kill("follower", time.Second, (r.awaitLeader(logLeader)+1)%nodes) })
	stop()
	r.logSum(r.settle())
}

// newLoaded is a rig for a test of the normal suite.
func newLoaded(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("megabytes of events through three servers")
	}
	t.Parallel()
	return newRig(t, plan{customers: 200, rate: 40, timing: natstest.Timing})
}

// during pours events while a fault happens, and returns when all servers are well again.
func (r *rig) during(size int, fault func()) {
	r.t.Helper()
	var pouring sync.WaitGroup
	pouring.Go(func() { r.pour(size) })
	r.t.Cleanup(pouring.Wait) // if the fault ends the test
	fault()
	pouring.Wait()
	r.awaitReady()
}
