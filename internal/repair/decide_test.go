package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	"entitled/internal/streams"
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

// newStore returns a store on a NATS server of its own.
func newStore(t testing.TB) (*store.Store, jetstream.JetStream) {
	t.Helper()
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
	return st, js
}

// While the leader does not answer, a read may reach a replica that lags behind. A snapshot that was
// listed and is not found is decided in another pass.
func TestDecidedAlthoughAReplicaLags(t *testing.T) {
	t.Parallel()
	st, js := newStore(t)
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
	put(t, js, &plans.Document{Number: 1, Default: &plans.Default{Features: []string{"view"}}})
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

// gathering is a store whose first writes wait until some are under way at once. A sync of it waits in
// its fetch until that is released.
type gathering struct {
	*store.Store
	want              int32
	writing, most     atomic.Int32
	all               sync.Once
	gathered          chan struct{}
	fetching, release chan struct{}
}

func (g *gathering) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	n := g.writing.Add(1)
	defer g.writing.Add(-1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	if n == g.want {
		// The others that are let through have begun by the end of this.
		for range 10 {
			if _, _, err := g.Store.Snapshot(ctx, key); err != nil {
				return 0, err
			}
		}
		g.all.Do(func() { close(g.gathered) })
	}
	select {
	case <-g.gathered:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return g.Store.WriteSnapshot(ctx, key, data, revision)
}

func (g *gathering) TryPermit() bool { return true }

func (g *gathering) Fetch(ctx context.Context, c stripeevent.Customer, _ plans.Reading,
	_ func(context.Context) error) (stripeapi.State, stripeapi.Trace, error) {
	close(g.fetching)
	<-g.release
	return stripeapi.State{}, stripeapi.Trace{}, errors.New("not read")
}

// While this process syncs a customer because of a webhook, few customers are decided at once.
func TestDecidesFewBesideAWebhook(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		webhook bool
		want    int32
	}{{"alone", false, deciders}, {"beside a webhook", true, besideWebhooks}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st, js := newStore(t)
			fill(t, st, js, 2*deciders)
			g := &gathering{Store: st, want: c.want, gathered: make(chan struct{}),
				fetching: make(chan struct{}), release: make(chan struct{})}
			log := slog.New(slog.DiscardHandler)
			p := protocol.New(protocol.Config{Outside: g, Observer: unobserved{}, AckWait: topology.AckWait, Log: log,
				Parallel: 1})
			put(t, js, &plans.Document{Number: 1})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var syncing sync.WaitGroup
			defer syncing.Wait()
			defer close(g.release)
			if c.webhook {
				syncing.Go(func() {
					task := protocol.Task{Customer: stripeevent.Customer{Mode: entitlement.Test, ID: "cus_other"},
						Lane: stripeevent.Now, Seq: 1}
					if _, err := p.Sync(ctx, ctx, task); err == nil {
						t.Error("a customer was synced that could not be read")
					}
				})
				select {
				case <-g.fetching:
				case <-ctx.Done():
					t.Fatal(ctx.Err())
				}
			}
			d := &Decider{Store: st, Mode: entitlement.Test, Log: log, Protocol: p}
			if err := d.Run(ctx, false); err != nil {
				t.Fatal(err)
			}
			if most := g.most.Load(); most != c.want {
				t.Errorf("%d customers were decided at once, want %d", most, c.want)
			}
		})
	}
}

// fill puts customers into the bucket, decided under no document.
func fill(t testing.TB, st *store.Store, js jetstream.JetStream, customers int) {
	t.Helper()
	for i := range customers {
		s := entitlement.Snapshot{Schema: entitlement.Schema, Customer: fmt.Sprintf("cus_%d", i), Status: "active",
			AsOf: time.Now().UTC(), Metadata: map[string]string{}, Subscriptions: []entitlement.Subscription{{
				ID: fmt.Sprintf("sub_%d", i), Status: "active", CurrentPeriodEnd: 1 << 33, Metadata: map[string]string{},
				Items: []entitlement.Item{{ID: "si_1", Price: "price_1", Product: "prod_1"}},
			}}}
		plans.Decide(&s, nil)
		if _, err := js.PublishAsync(streams.Subject(st.Bucket.Bucket(), s.Customer), s.Encode(),
			jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

// put puts a document in force.
func put(t testing.TB, js jetstream.JetStream, doc *plans.Document) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), topology.PlansBucket)
	if err == nil {
		_, err = kv.Put(t.Context(), string(entitlement.Test), doc.Encode())
	}
	if err != nil {
		t.Fatal(err)
	}
}
