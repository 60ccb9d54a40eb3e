package clustertest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// worstDelay bounds the time from a 200 to the end of a sync that read Stripe after it, whatever happens to one node at a
// time: to notice a dead leader and elect another (9 s at most), to hand out again what the dead one had (10 s), a pace
// of a busy customer (8 s), and what piled up meanwhile.
const worstDelay = 40 * time.Second

// recovery is what the pipeline gets between two faults: AckWait and the pace of a busy customer.
const recovery = 12 * time.Second

// TestRounds does everything to every leader, in turn, while events flow.
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
		r.awaitLeader(what)
		i := r.leaders()[what]()
		// Each kind of fault comes to each leader in len(kinds) times four rounds.
		switch n / len(kinds) % 4 {
		case 0:
			r.kill(what, i, 2*time.Second)
		case 1:
			r.isolate(what, i, n%2 == 0, 12*time.Second)
		case 2:
			r.inject(fmt.Sprintf("restart n%d, %s", i+1, what), r.cluster.Servers[i].Restart)
		case 3:
			r.lag(time.Second, 5*time.Second)
		}
		r.cluster.WaitReady()
		for _, what := range kinds {
			r.awaitLeader(what)
		}
		// One fault at a time: the next one comes when what piled up is worked off.
		r.pass(recovery)
	}
	stop()
	s := r.settle()
	t.Logf("%d rounds", *rounds)
	r.tell(s)
	if worst := s.at(1); worst > worstDelay {
		t.Errorf("somebody waited %s for a sync, want %s at most", worst, worstDelay)
	}
}

// isolate cuts node i off from the others, and from its clients too or not.
func (r *rig) isolate(what string, i int, clients bool, d time.Duration) {
	r.t.Helper()
	r.inject(fmt.Sprintf("isolate n%d, %s, clients too %t", i+1, what, clients), func() {
		r.cluster.Isolate(i, clients)
		r.pass(d)
		r.cluster.Heal(i)
	})
}
