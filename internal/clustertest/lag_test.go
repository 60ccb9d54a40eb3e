package clustertest

import (
	"fmt"
	"time"

	"entitled/internal/natstest"
)

// lag delays the replication to a node that leads nothing by d, for long, and returns the node that
// leads the consumer.
func (r *rig) lag(d, long time.Duration) (leader int) {
	r.t.Helper()
	leader = r.awaitLeader("leader of STRIPE_SYNC")
	behind := (leader + 1) % nodes
	r.unlead(behind)
	r.inject(fmt.Sprintf("n%d lags by %s", behind+1, d), func() {
		r.cluster.Lag(behind, d)
		r.pass(long)
		r.cluster.Heal(behind)
	})
	return r.awaitLeader("leader of the consumer")
}

// unlead makes node i a follower of every stream and of the consumer.
func (r *rig) unlead(i int) {
	r.t.Helper()
	for what, subject := range stepDown {
		natstest.Eventually(r.t, settleWithin, func() error {
			if r.leaders()[what]() != i {
				return nil
			}
			if _, err := r.nc.Request("$JS.API."+subject, nil, time.Second); err != nil {
				return err
			}
			return fmt.Errorf("n%d is still %s", i+1, what)
		})
	}
}

var stepDown = map[string]string{
	"leader of STRIPE_EVENTS": "STREAM.LEADER.STEPDOWN.STRIPE_EVENTS",
	"leader of STRIPE_SYNC":   "STREAM.LEADER.STEPDOWN.STRIPE_SYNC",
	"leader of STRIPE_SYNCED": "STREAM.LEADER.STEPDOWN.STRIPE_SYNCED",
	"leader of entitlements":  "STREAM.LEADER.STEPDOWN.KV_entitlements_live",
	"leader of stripe_state":  "STREAM.LEADER.STEPDOWN.KV_stripe_state",
	"leader of stripe_pace":   "STREAM.LEADER.STEPDOWN.KV_stripe_pace",
	"leader of the consumer":  "CONSUMER.LEADER.STEPDOWN.STRIPE_SYNC.syncer_live_now",
}
