package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// deadFor is how long a server is down, calmAfter how long the others are watched before the next
// one dies.
const deadFor, calmAfter = 3 * time.Second, 15 * time.Second

// TestDeaths measures how long webhooks wait, and how long no snapshot is written, when a server
// dies: the leader of STRIPE_EVENTS, a follower, the leader of the snapshots, and a follower, in
// turn.
func TestDeaths(t *testing.T) {
	if *deaths == 0 {
		t.Skip("set -cluster.deaths")
	}
	r := newRig(t, plan{customers: 300, rate: 100})
	stop := r.load(40)
	defer stop()
	r.pass(5 * time.Second)
	var died []fault
	for n := range *deaths {
		what := []string{"leader of STRIPE_EVENTS", "leader of entitlements"}[n/2%2]
		i := r.awaitLeader(what)
		if n%2 == 1 {
			i, what = (i+1)%nodes, "not "+what
		}
		at := time.Now()
		r.kill(what, deadFor, i)
		r.awaitReady()
		r.pass(calmAfter)
		died = append(died, fault{what, at, time.Now()})
	}
	stop()
	s := r.settle()
	r.logSum(s)
	r.tellDeaths(died)
}

// A death is the cost of one: for how long no webhook was answered 200, and for how long no
// snapshot was written.
type death struct {
	fault
	none, stale time.Duration
}

func (r *rig) tellDeaths(died []fault) {
	r.t.Helper()
	var taken, written []time.Time
	for _, a := range r.answers {
		if a.status == 200 {
			taken = append(taken, a.to)
		}
	}
	for _, all := range r.records() {
		for _, w := range all {
			if w.Revision != 0 {
				written = append(written, w.at)
			}
		}
	}
	var costs []death
	for _, f := range died {
		d := death{fault: f, none: longestGap(taken, f), stale: longestGap(written, f)}
		r.t.Logf("%s: no webhook answered 200 for %s, no snapshot for %s", f.what, brief(d.none), brief(d.stale))
		costs = append(costs, d)
	}
	isLeader := func(d death) bool { return !strings.HasPrefix(d.what, "not ") }
	leaders := slices.DeleteFunc(slices.Clone(costs), func(d death) bool { return !isLeader(d) })
	others := slices.DeleteFunc(slices.Clone(costs), isLeader)
	for _, g := range []struct {
		name string
		of   []death
	}{{"all", costs}, {"leaders", leaders}, {"others", others}} {
		r.t.Logf("%s, %d deaths: no webhook answered 200 for %s; no snapshot for %s", g.name, len(g.of),
			spread(g.of, func(d death) time.Duration { return d.none }),
			spread(g.of, func(d death) time.Duration { return d.stale }))
	}
}

// longestGap returns the longest time without an event during a fault, and from shortly before it.
func longestGap(times []time.Time, f fault) (longest time.Duration) {
	slices.SortFunc(times, time.Time.Compare)
	last := f.from
	for _, at := range times {
		if at.Before(f.from) {
			continue
		}
		if at.After(f.to) {
			break
		}
		longest, last = max(longest, at.Sub(last)), at
	}
	return max(longest, f.to.Sub(last))
}

func spread(all []death, of func(death) time.Duration) string {
	if len(all) == 0 {
		return "nothing"
	}
	times := make([]time.Duration, len(all))
	for i, d := range all {
		times[i] = of(d)
	}
	slices.Sort(times)
	return fmt.Sprintf("p50 %s, worst %s", brief(times[len(times)/2]), brief(times[len(times)-1]))
}

func brief(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
