package syncer

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A job that is due again while it runs does not run beside itself.
func TestJobDoesNotOverlapItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.load(10)
	held := r.sim.Hold(func(q *stripesim.Request) bool { return strings.HasSuffix(q.Path, "/subscriptions") })
	r.start()
	r.publishJob("sweep")
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.publishJob("sweep")
	natstest.Eventually(t, patience, func() error {
		stream, err := r.js.Stream(t.Context(), topology.SyncStream)
		if err != nil {
			return err
		}
		if _, err := stream.GetLastMsgForSubject(t.Context(),
			stripeevent.JobSubject("test", "sweep")); !errors.Is(err, jetstream.ErrMsgNotFound) {
			return errors.New("the second is not settled")
		}
		return nil
	})
	if n := r.sim.Stats().ByEndpoint["GET /v1/subscriptions"]; n != 0 {
		t.Errorf("%d listings ended while the first is held", n)
	}
	held.Release()
}

// A failing job comes back later each time.
func TestFailingJobIsDelayed(t *testing.T) {
	t.Parallel()
	s := &Syncer{
		cfg: Config{Timing: timing.Production}, mode: "test", log: slog.New(slog.DiscardHandler), metrics: newMetrics(), running: &sync.Map{},
		jobs: []job{{name: "sweep", run: func(context.Context, bool) error { return errors.New("no") }}},
	}
	for delivered, want := range map[uint64]time.Duration{1: timing.Production.JobAgain, 20: timing.Production.LongestDelay / 2} {
		m := &jobMsg{delivered: delivered}
		s.runJob(t.Context(), m)
		if m.delay < want {
			t.Errorf("delivery %d: comes back after %s, want at least %s", delivered, m.delay, want)
		}
	}
}

type jobMsg struct {
	jetstream.Msg // what a job does not use panics
	delivered     uint64
	delay         time.Duration
}

func (m *jobMsg) Subject() string   { return stripeevent.JobSubject("test", "sweep") }
func (m *jobMsg) Data() []byte      { return nil }
func (m *jobMsg) InProgress() error { return nil }
func (m *jobMsg) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{NumDelivered: m.delivered}, nil
}
func (m *jobMsg) NakWithDelay(d time.Duration) error { m.delay = d; return nil }
