package syncer

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A document that is applied while a run of the job, which has looked for one before, is about to end
// is decided as soon as that run has ended, and not only when the job is due again.
func TestDocumentBesideAnEndingRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.publishJob(jobDecide)
	cons, err := r.js.Consumer(t.Context(), topology.SyncStream, topology.JobConsumer(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	run, err := cons.Next() // the run of another syncer
	if err != nil {
		t.Fatal(err)
	}
	r.apply(1, proPlan)
	ready, _ := r.launch(func(c *Config) { c.Timing.Schedules = time.Hour })
	works(t, ready)
	// Without its schedule the job is never due.
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	schedule := stripeevent.CronSubject(entitlement.Test, jobDecide)
	natstest.Eventually(t, patience, func() error {
		_, err := stream.GetLastMsgForSubject(t.Context(), schedule)
		return err
	})
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(schedule)); err != nil {
		t.Fatal(err)
	}
	if err := run.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.awaitDecided(1)
}
