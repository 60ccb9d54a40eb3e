package backup

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// patience bounds a wait of a test; nothing takes nearly as long unless it hangs.
const patience = 4 * time.Minute

// topologyOf creates everything on a server, with this many replicas.
func topologyOf(t testing.TB, js jetstream.JetStream, replicas int) {
	t.Helper()
	options := topology.Options{Replicas: replicas, Modes: []entitlement.Mode{entitlement.Test}}
	natstest.Eventually(t, patience, func() error {
		_, err := topology.Apply(t.Context(), js, topology.All(options), topology.ApplyOptions{})
		return err
	})
}

// fill stores n events, records, snapshots, a plans document, and the entries of stripe_state that a pipeline has.
func fill(t testing.TB, js jetstream.JetStream, n int) {
	t.Helper()
	publish := func(subject, body string) {
		t.Helper()
		m := nats.NewMsg(subject)
		m.Data = []byte(body)
		m.Header.Set("Test-Of", subject)
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		c := customer(i)
		publish(stripeevent.EventSubject(c, "customer.created"), fmt.Sprintf(`{"id":"evt_%d"}`, i))
		publish(stripeevent.SyncedSubject(c), fmt.Sprintf(`{"events_seq":%d}`, i+1))
		publish("$KV.entitlements_test."+c.Key(), fmt.Sprintf(`{"n":%d}`, i))
	}
	publish("$KV.entitled_plans.test.1", `{"number":1}`)
	publish("$KV.entitled_plans.test", `{"number":1}`)
	for _, key := range stateKeys {
		publish("$KV.stripe_state."+key, `{"of":"`+key+`"}`)
	}
	publish("$KV.stripe_state."+stripeevent.ParkedKey(customer(1)), `{"parked_at":"2026-01-02T03:04:05Z"}`)
}

func customer(i int) stripeevent.Customer {
	return stripeevent.Customer{Mode: entitlement.Test, ID: fmt.Sprintf("cus_%d", i)}
}

var stateKeys = []string{
	"budget.test", "relief.test", "backfill.test", "backfill.test.run.0.1", "backfill-acct_1.test",
	"cursor.test.coverage", "cursor.test.events", "cursor.test.events.acct_1", "cursor.test.fanout", "sweep.test",
	"policy.test",
}

// A message is a message of a stream.
type message struct {
	at     time.Time
	header nats.Header
	body   string
}

// contents returns all messages of a stream by sequence and subject.
func contents(t testing.TB, js jetstream.JetStream, stream string) map[string]message {
	t.Helper()
	all := map[string]message{}
	cons, err := js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	left := cons.CachedInfo().NumPending
	if left == 0 {
		return all
	}
	it, err := cons.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for left > 0 {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprintf("%d %s", meta.Sequence.Stream, m.Subject())] = message{
			meta.Timestamp, m.Headers(), string(m.Data()),
		}
		left = meta.NumPending
	}
	return all
}

func take(t testing.TB, nc *nats.Conn) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := Take(t.Context(), nc, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

var errStopHere = errors.New("stop here")

// stopAt is an option that ends the work after a step.
func stopAt(step string) func(string) error {
	return func(s string) error {
		if s == step {
			return errStopHere
		}
		return nil
	}
}
