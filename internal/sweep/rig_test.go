package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A rig is a store on its own NATS server, and the configuration of sweeps. It has no Stripe.
type rig struct {
	t     testing.TB
	js    jetstream.JetStream
	store *store.Store
	cfg   Config
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return rigOn(t, natstest.Run(t).Conn, topology.Options{})
}

func rigOn(t testing.TB, conn func(testing.TB, ...nats.Option) *nats.Conn, assets topology.Options) *rig {
	t.Helper()
	js, err := jetstream.New(conn(t), jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	// A new cluster may leave a request without an answer during an election.
	natstest.Eventually(t, 5*time.Minute, func() error {
		_, err := topology.Apply(t.Context(), js, topology.Syncer(assets, entitlement.Test), topology.ApplyOptions{})
		return err
	})
	st, err := store.Open(t.Context(), store.Publisher{JetStream: js, Took: func(err error) error { return err }},
		entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	if st.Stripe, err = stripeapi.New(stripeapi.Config{Key: "sk_test_rig"}); err != nil {
		t.Fatal(err)
	}
	features := store.FeaturesEntry(st.State, entitlement.Test, "")
	if err := features.Put(t.Context(), store.Features{AskedAt: time.Now()}); err != nil { // there are none
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return &rig{t: t, js: js, store: st, cfg: Config{
		Protocol: protocol.New(protocol.Config{Outside: st, Observer: unobserved{},
			AckWait: topology.AckWait, Log: log}),
		Store: st, Log: log, Mode: entitlement.Test,
		Rewake: func(context.Context, stripeevent.Customer, *entitlement.Snapshot) error { return nil },
	}}
}

// unobserved is an observer that does nothing.
type unobserved struct{}

func (unobserved) Conflicted()                                                {}
func (unobserved) Problems()                                                  {}
func (unobserved) Superseded(context.Context, protocol.Task)                  {}
func (unobserved) Synced(context.Context, protocol.Task, record.Record)       {}
func (unobserved) PutOff(context.Context, protocol.Task, error)               {}
func (unobserved) Failed(context.Context, protocol.Task, protocol.Settlement) {}

// stateKeys are the keys of stripe_state with a prefix.
func (r *rig) stateKeys(prefix string) (keys []string) {
	r.t.Helper()
	for item, err := range streams.Keys(r.t.Context(), r.js, topology.StateBucket) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(item.Key, prefix) {
			keys = append(keys, item.Key)
		}
	}
	return keys
}

// records are the customer's, oldest first.
func (r *rig) records(c stripeevent.Customer) (all []record.Record) {
	r.t.Helper()
	for msg, err := range streams.Messages(r.t.Context(), r.js,
		streams.Reading{Stream: topology.SyncedStream, Subjects: []string{stripeevent.SyncedSubject(c)}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		var rec record.Record
		if err := json.Unmarshal(msg.Data, &rec); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

func ours(id string) stripeevent.Customer {
	return stripeevent.Customer{Mode: entitlement.Test, ID: id}
}

var errOfWire = errors.New("cut off by the test")
