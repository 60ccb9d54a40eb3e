package syncer

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A syncer that finds no schedule starts the job, but not beside a start that is there already,
// such as that of a restore.
func TestJobStartedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	const name = "coverage"
	subject := stripeevent.JobSubject(entitlement.Test, name)
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	start := func() uint64 {
		t.Helper()
		if err := o.s.restore(t.Context(), job{name: name, schedule: "@every 1h", atOnce: true}); err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil || string(m.Data) != stripeevent.JobFromNothing {
			t.Fatalf("the start of the job: %v, %v", m, err)
		}
		return m.Sequence
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("stripe.cron.>")); err != nil {
		t.Fatal(err)
	}
	first := start()
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("stripe.cron.>")); err != nil {
		t.Fatal(err)
	}
	if second := start(); second != first {
		t.Errorf("the start of the job has sequence %d, and then %d", first, second)
	}
}
