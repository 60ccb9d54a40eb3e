package clustertest

import (
	"fmt"
	"strings"
	"time"
)

// must fails the test if a fault could not be injected.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) awaitReady() {
	r.t.Helper()
	r.must(r.cluster.WaitReady(r.t.Context()))
}

// kill sends SIGKILL to nodes at once and restarts them after down.
func (r *rig) kill(what string, down time.Duration, victims ...int) {
	r.t.Helper()
	r.inject(fmt.Sprintf("kill %s, %s, for %s", names(victims), what, down), func() {
		r.must(r.cluster.Kill(victims...))
		r.pass(down)
		r.must(r.cluster.Run(r.t.Context(), victims...))
	})
}

// restart stops a node in order and starts it again.
func (r *rig) restart(what string, i int) {
	r.t.Helper()
	r.inject(fmt.Sprintf("restart %s, %s", names([]int{i}), what), func() {
		r.must(r.cluster.Stop(i))
		r.must(r.cluster.Run(r.t.Context(), i))
	})
}

// pause sends SIGSTOP to nodes, and SIGCONT after d.
func (r *rig) pause(what string, d time.Duration, victims ...int) {
	r.t.Helper()
	r.inject(fmt.Sprintf("pause %s, %s, for %s", names(victims), what, d), func() {
		r.must(r.cluster.Pause(victims...))
		r.pass(d)
		r.must(r.cluster.Resume(victims...))
	})
}

// isolate isolates node i from the others and, if clients is true, from its clients.
func (r *rig) isolate(what string, i int, clients bool, d time.Duration) {
	r.t.Helper()
	r.inject(fmt.Sprintf("isolate %s, %s, clients too %t", names([]int{i}), what, clients), func() {
		r.cluster.Isolate(i, clients)
		r.pass(d)
		r.cluster.Heal(i)
	})
}

func names(nodes []int) string {
	all := make([]string, len(nodes))
	for k, i := range nodes {
		all[k] = fmt.Sprintf("n%d", i+1)
	}
	return strings.Join(all, ", ")
}
