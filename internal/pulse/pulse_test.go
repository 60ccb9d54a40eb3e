package pulse

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeapi/budget"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// A rig is a pipeline without programs, a clock that the test sets, and a Pulse.
type rig struct {
	*testing.T
	js     jetstream.JetStream
	i      *inspect.Inspector
	now    time.Time
	opened int
	away   error
	pulse  *Pulse
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, js: natstest.Run(t).JetStream(t), now: time.Now()}
	if err := topology.Ensure(t.Context(), r.js, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.i, err = inspect.Open(t.Context(), r.js, entitlement.Test); err != nil {
		t.Fatal(err)
	}
	r.pulse = New(Config{Fresh: time.Second, Now: func() time.Time { return r.now },
		Open: func(context.Context) (*inspect.Inspector, error) { r.opened++; return r.i, r.away }})
	return r
}

func (r *rig) take() *Sample {
	r.Helper()
	s, err := r.pulse.Take(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// synced records a sync that a webhook of so long before caused.
func (r *rig) synced(wait time.Duration) {
	r.Helper()
	at := time.Now().Add(-wait)
	if err := r.i.AppendRecord(r.Context(), stripeevent.Customer{Mode: entitlement.Test, ID: "cus_1"}, record.Record{
		Trigger: stripeevent.TriggerWebhook, Revision: 1, ReceivedAt: &at}); err != nil {
		r.Fatal(err)
	}
}

// A sample serves all who ask within its time; the points of the last minutes are kept, and no more.
func TestTake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.take()
	if s.Waits != 0 || s.Budget != nil || s.Used >= 0 || !s.Newest.IsZero() || !s.Unchecked.IsZero() ||
		len(s.Points) != 1 {
		t.Errorf("of an empty pipeline: %+v", s)
	}
	r.now = r.now.Add(900 * time.Millisecond)
	if again := r.take(); again != s || r.opened != 1 {
		t.Errorf("a second look within a second took another sample")
	}
	for range 10 {
		if _, err := r.js.Publish(t.Context(), "stripe.event.test.self.cus_1.x", nil); err != nil {
			t.Fatal(err)
		}
	}
	r.synced(time.Hour)
	r.synced(2 * time.Hour)
	r.now = r.now.Add(time.Second)
	if s = r.take(); s.PerSecond != 1 || s.Waits != 2 || s.Median < 2*time.Hour || len(s.Points) != 2 ||
		s.Points[1].Median == nil {
		t.Errorf("ten events and two syncs later: %+v", s)
	}
	if !s.Newest.IsZero() {
		t.Error("what is read slowly was read at once")
	}
	r.now = r.now.Add(slowly)
	if s = r.take(); s.Newest.IsZero() || s.Unchecked.IsZero() || s.Waits != 2 || s.Points[2].Median != nil {
		t.Errorf("after %v: %+v", slowly, s)
	}
	r.now = r.now.Add(kept)
	if s = r.take(); len(s.Points) != 2 {
		t.Errorf("after %v: %d points, want the last two", kept, len(s.Points))
	}
	r.away = errors.New("away")
	r.now = r.now.Add(time.Minute)
	if _, err := r.pulse.Take(t.Context()); !errors.Is(err, r.away) {
		t.Errorf("without NATS: %v", err)
	}
	r.away = nil
	r.take()
}

// The use of the budget is that between two samples.
func TestUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := budget.New(budget.Config{KV: r.i.State, Mode: entitlement.Test, Rate: 100})
	use := func() {
		t.Helper()
		for range 5 {
			if err := b.Take(t.Context(), stripeapi.Webhooks); err != nil {
				t.Fatal(err)
			}
		}
	}
	use()
	if s := r.take(); s.Budget == nil || s.Budget.Full != 100 || s.Used >= 0 {
		t.Errorf("the first sample: %+v", s)
	}
	use()
	r.now = r.now.Add(2 * time.Second)
	s := r.take()
	if s.Used <= 0 || s.Points[1].Used == nil || *s.Points[1].Used != s.Used {
		t.Errorf("after five requests: %+v", s)
	}
	if err := r.i.State.Delete(t.Context(), "budget.test"); err != nil {
		t.Fatal(err)
	}
	use()
	r.now = r.now.Add(2 * time.Second)
	if s := r.take(); s.Used >= 0 || s.Points[2].Used != nil {
		t.Errorf("of a budget that began again: %+v", s)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.95: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
}
