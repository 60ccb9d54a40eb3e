package clustertest

import (
	"flag"
	"fmt"
	"strings"
	"time"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

var (
	rounds = flag.Int("cluster.rounds", 0, "rounds of faults in TestRounds, of about 20 s each; 0 skips it")
	deaths = flag.Int("cluster.deaths", 0, "how often TestDeaths kills a server, about 25 s each; 0 skips it")
)

// logSum logs the result of a run, and the circumstances of its slowest syncs.
func (r *rig) logSum(s sum) {
	r.t.Helper()
	r.t.Logf("%d changes, webhooks answered %v, slowest answer %s",
		s.changes, s.statuses, s.slowest.Round(time.Millisecond))
	r.t.Logf("%d events acknowledged, %.1f MB, %d records, %d requests to Stripe; last marker gone %s after the last "+
		"webhook",
		s.acked, float64(s.bytes)/1e6, s.syncs, s.requests, s.settled.Round(time.Millisecond))
	r.t.Logf("from a 200 to its sync: median %s, 99 %% %s, 99.9 %% %s, worst %s", s.at(.5).Round(time.Millisecond),
		s.at(.99).Round(time.Millisecond), s.at(.999).Round(time.Millisecond), s.at(1).Round(time.Millisecond))
	for i := len(s.delays) - 1; i >= max(len(s.delays)-5, 0); i-- {
		d := s.delays[i]
		var during []string
		for _, f := range r.faults {
			if f.from.Before(d.acked.Add(d.delay)) && f.to.After(d.acked) {
				during = append(during, fmt.Sprintf("%s (%s to %s)",
					f.what, f.from.Sub(d.acked).Round(time.Millisecond), f.to.Sub(d.acked).Round(time.Millisecond)))
			}
		}
		r.t.Logf("%s waited %s from %s on: %s",
			d.customer, d.delay.Round(time.Millisecond), d.acked.Format("15:04:05.000"), strings.Join(during, "; "))
	}
}

// leaders returns everything that has its own leader.
func (r *rig) leaders() map[string]func() int {
	stream := func(name string) func() int { return func() int { return r.cluster.StreamLeader(r.t.Context(), name) } }
	consumer := func(name string) func() int {
		return func() int { return r.cluster.ConsumerLeader(r.t.Context(), topology.SyncStream, name) }
	}
	return map[string]func() int{
		"meta leader":             func() int { return r.cluster.MetaLeader(r.t.Context()) },
		"leader of STRIPE_EVENTS": stream(topology.EventsStream),
		"leader of STRIPE_SYNC":   stream(topology.SyncStream),
		"leader of STRIPE_SYNCED": stream(topology.SyncedStream),
		"leader of entitlements":  stream("KV_entitlements_" + string(mode)),
		"leader of stripe_state":  stream("KV_" + topology.StateBucket),
		"leader of stripe_pace":   stream("KV_" + topology.PaceBucket),
		"leader of the consumer":  consumer(topology.LaneConsumer(mode, stripeevent.Now)),
	}
}
