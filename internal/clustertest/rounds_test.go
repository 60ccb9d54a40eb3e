package clustertest

import (
	"maps"
	"slices"
	"testing"
	"time"

	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

// worstDelay bounds the time from a 200 to the end of a sync that read Stripe after it, whatever
// happens to one node at a time: to notice a dead leader and elect another (9 s at most where
// nothing else keeps the machine busy, and not counted as far as it shows), to hand out again what
// the dead one had (10 s), and a pace of a busy customer (8 s). What piled up meanwhile comes on
// top: see pile. No slow machine explains more than longestPile.
const worstDelay, longestPile = 30 * time.Second, time.Minute

// recovery is the time between two faults: AckWait and the pace of a busy customer.
const recovery = 12 * time.Second

// TestRounds injects every fault at every leader, in turn, while events flow.
func TestRounds(t *testing.T) {
	if *rounds == 0 {
		t.Skip("set -cluster.rounds")
	}
	r := newRig(t, plan{customers: 300, rate: 100})
	stop := r.load(30)
	defer stop()
	r.pass(2 * time.Second)
	kinds := slices.Sorted(maps.Keys(r.leaders()))
	for n := range *rounds {
		what := kinds[n%len(kinds)]
		i := r.awaitLeader(what)
		other := (i + 1) % nodes
		// Each kind of fault comes to each leader in len(kinds) times seven rounds.
		switch n % 7 {
		case 0:
			r.kill(what, 2*time.Second, i)
		case 1:
			r.isolate(what, i, n%2 == 0, 12*time.Second)
		case 2:
			r.restart(what, i)
		case 3:
			r.lag(time.Second, 5*time.Second)
		case 4:
			r.pause(what, 10*time.Second, i)
		case 5:
			r.pause(what+" and another", 10*time.Second, i, other)
		case 6:
			r.kill("all", time.Second, r.cluster.All()...)
		}
		r.awaitReady()
		for _, what := range kinds {
			r.awaitLeader(what)
		}
		// One fault at a time: the next one comes after the backlog of the last is done.
		r.pass(recovery)
	}
	stop()
	s := r.settle()
	t.Logf("%d rounds", *rounds)
	r.logSum(s)
	r.checkDelays(s)
}

// checkDelays fails the test if a customer waited for too long.
func (r *rig) checkDelays(s sum) {
	r.t.Helper()
	worst := s.worst()
	r.t.Logf("the worst while everything had a leader: %s", worst.Round(time.Millisecond))
	if worst <= worstDelay {
		return
	}
	most := worstDelay + longestPile
	if worst <= most {
		most = worstDelay + r.pile(s)
	}
	if worst > most {
		r.t.Errorf("a customer waited %s for a sync while every stream had a leader, want %s at most", worst, most)
	}
}

// pile is how long it takes here, with all nodes well, until those who changed in a run are synced
// when all of them change at once.
func (r *rig) pile(s sum) time.Duration {
	r.t.Helper()
	changed := map[string]bool{}
	for _, d := range s.delays {
		changed[d.customer.ID] = true
	}
	began := time.Now()
	for _, sub := range r.subs {
		of, _ := r.sim.Subscription(sub)
		if !changed[of.Customer] {
			continue
		}
		if err := r.sim.UpdateSubscription(sub, map[string]string{"n": "once more"}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.deliverAll()
	natstest.Eventually(r.t, settleWithin, func() error { return noMarkers(r.t.Context(), r.js, stripeevent.Now) })
	return time.Since(began)
}
