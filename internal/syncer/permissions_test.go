package syncer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// Every job does all it has to do as the user syncer of the nats.conf that is shipped, and the
// operator's commands as ops.
func TestJobsAreAllowed(t *testing.T) {
	t.Parallel()
	conf, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	srv := natstest.Run(t, func(o *server.Options) { *o = *conf })
	denied := make(chan error, 100)
	as := func(user string) *nats.Conn {
		return srv.Conn(t, nats.UserInfo(user, user+"-dev"), nats.CustomInboxPrefix("_INBOX_"+user),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
				if errors.Is(err, nats.ErrPermissionViolation) {
					denied <- err
				}
			}))
	}
	r := rigOn(t, func(testing.TB, ...nats.Option) *nats.Conn { return as("ops") }, topology.Options{}, nil)
	ids := r.load(reliefFrom + 10)
	if _, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}

	// Something for each job to do.
	for _, id := range ids {
		if truth, _ := r.sim.Truth(id); truth.Subscriptions[0].Status == "active" {
			if err := r.sim.Silent().UpdateSubscription(truth.Subscriptions[0].ID,
				map[string]string{"n": "1"}); err != nil {
				t.Fatal(err)
			}
		}
		r.mark(ours(id))
	}
	if err := r.sim.UpdatePrice(r.price, "renamed", true); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.sim.Events() {
		r.deliver(e)
	}
	r.customer() // its event is lost
	kv, err := r.js.KeyValue(t.Context(), topology.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"backfill-acct_1.test", "backfill-acct_1.test.run.0.0"} { // of an abandoned backfill
		if _, err := kv.PutString(t.Context(), key, "{}"); err != nil {
			t.Fatal(err)
		}
	}

	syncer := r.operator(func(c *Config) { c.NATS = as("syncer") }).s
	for _, j := range syncer.jobs {
		if j.name == "recover" {
			j.run = func(ctx context.Context, _ bool) error {
				rec := syncer.recovery("")
				rep, err := rec.Run(ctx, 0, syncer.protocol.Now())
				if err == nil && rep.Recovered == 0 {
					err = errors.New("nothing recovered")
				}
				return err
			}
		}
		if err := syncer.restore(t.Context(), j); err != nil {
			t.Errorf("schedule of %s: %v", j.name, err)
		}
		if err := j.run(t.Context(), true); err != nil {
			t.Errorf("job %s: %v", j.name, err)
		}
	}
	if err := sweep.DropAbandoned(t.Context(), syncer.store, syncer.mode,
		time.Now().Add(6*time.Hour+time.Minute)); err != nil {
		t.Error(err)
	}
	if keys := r.stateKeys("backfill"); len(keys) != 0 {
		t.Errorf("left of an abandoned backfill: %v", keys)
	}
	if n := r.recordsBy(stripeevent.TriggerSweep); n == 0 {
		t.Error("the relief wrote nothing")
	}
	if err := syncer.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for len(denied) > 0 {
		t.Errorf("denied: %v", <-denied)
	}
}
