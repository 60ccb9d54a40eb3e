package repair

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// lagging is a store whose first answer about a snapshot comes from a replica that does not have it
// yet.
type lagging struct {
	*store.Store
	asked atomic.Int32
}

func (l *lagging) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	if l.asked.Add(1) == 1 {
		return nil, 0, nil
	}
	return l.Store.Snapshot(ctx, key)
}

type unobserved struct{ protocol.Observer }

// While the leader does not answer, a read may reach a replica that lags behind. A snapshot that was
// listed and is not found is decided in another pass.
func TestDecidedAlthoughAReplicaLags(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(natstest.Run(t).Conn(t), jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(t.Context(), js, topology.Syncer(topology.Options{}, entitlement.Test),
		topology.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Publisher{JetStream: js, Took: func(err error) error { return err }},
		entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	st.Timing = natstest.Timing
	if st.Stripe, err = stripeapi.New(stripeapi.Config{Key: "sk_test_rig"}); err != nil {
		t.Fatal(err)
	}
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_1"}
	s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: c.ID, Status: entitlement.StatusNone,
		AsOf: time.Unix(1, 0).UTC(), Metadata: map[string]string{}, Subscriptions: []entitlement.Subscription{}}
	plans.Decide(&s, nil)
	written, err := st.WriteSnapshot(t.Context(), c.Key(), s.Encode(), 0)
	if err == nil {
		err = st.AppendRecord(t.Context(), c, record.Record{Revision: written, Outcome: record.Created, Snapshot: &s})
	}
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), topology.PlansBucket)
	if err != nil {
		t.Fatal(err)
	}
	doc := &plans.Document{Number: 1, Default: &plans.Default{Features: []string{"view"}}}
	if _, err := kv.Put(t.Context(), string(entitlement.Test), doc.Encode()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	d := &Decider{
		Store: st, Mode: entitlement.Test, Log: log,
		Protocol: protocol.New(protocol.Config{Outside: &lagging{Store: st}, Observer: unobserved{},
			AckWait: topology.AckWait, Log: log}),
	}
	if err := d.Run(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	data, _, err := st.Snapshot(t.Context(), c.Key())
	if err != nil {
		t.Fatal(err)
	}
	if s, err = entitlement.Decode(data); err != nil || s.PlansRevision != 1 {
		t.Errorf("decided under document %d, want 1: %v", s.PlansRevision, err)
	}
}
