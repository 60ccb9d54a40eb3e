package entitlement_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// patience bounds a wait of a test. It is long because tests share their machine.
const patience = time.Minute

// snapshot returns a customer's snapshot with an open-ended active subscription and the features.
func snapshot(customer string, features ...string) entitlement.Snapshot {
	return entitlement.Snapshot{
		Schema: entitlement.Schema, Customer: customer, Livemode: true,
		Status: "active", Access: true, Features: features, Metadata: map[string]string{},
		Subscriptions: []entitlement.Subscription{{
			ID: "sub_" + customer, Status: "active", Access: true,
			Items:    []entitlement.Item{{ID: "si_1", Price: "price_1", Product: "prod_1"}},
			Metadata: map[string]string{},
		}},
		AsOf: time.Unix(1700000000, 0).UTC(), ChangedAt: time.Unix(1700000000, 0).UTC(),
		Cause: entitlement.Cause{Trigger: "webhook"},
	}
}

func createBucket(tb testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	tb.Helper()
	var kv jetstream.KeyValue
	// The server removes the files of a bucket that was deleted a moment ago beside its answer, and
	// refuses one in their place meanwhile.
	natstest.Eventually(tb, patience, func() (err error) {
		kv, err = js.CreateKeyValue(tb.Context(), jetstream.KeyValueConfig{
			Bucket: entitlement.Bucket(entitlement.Live), History: 1,
		})
		return err
	})
	return kv
}

func put(tb testing.TB, kv jetstream.KeyValue, s entitlement.Snapshot) uint64 {
	tb.Helper()
	return putRaw(tb, kv, entitlement.Key(s.Account, s.Customer), string(s.Encode()))
}

func putRaw(tb testing.TB, kv jetstream.KeyValue, key, value string) uint64 {
	tb.Helper()
	rev, err := kv.PutString(tb.Context(), key, value)
	if err != nil {
		tb.Fatal(err)
	}
	return rev
}

func open(tb testing.TB, nc *nats.Conn, opts *entitlement.Options) *entitlement.Client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	c, err := entitlement.Open(ctx, nc, entitlement.Live, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// setup starts a server with an empty bucket.
func setup(tb testing.TB) (*natstest.Server, jetstream.KeyValue) {
	tb.Helper()
	s := natstest.Run(tb)
	return s, createBucket(tb, s.JetStream(tb))
}

// holds waits until the client knows exactly these keys.
func holds(tb testing.TB, c *entitlement.Client, keys ...string) {
	tb.Helper()
	natstest.Eventually(tb, patience, func() error {
		n := 0
		for e := range c.All() {
			if n++; !strings.Contains(" "+strings.Join(keys, " ")+" ", " "+e.Key+" ") {
				return fmt.Errorf("%s is known; status %+v", e.Key, c.Status())
			}
		}
		if n != len(keys) || c.Status().Snapshots != n {
			return fmt.Errorf("%d are known, want %v; status %+v", n, keys, c.Status())
		}
		return nil
	})
}

// grants waits until the customer has the feature.
func grants(tb testing.TB, c *entitlement.Client, key, feature string) {
	tb.Helper()
	natstest.Eventually(tb, patience, func() error {
		if !c.Has(key, feature) {
			e, err := c.Lookup(key)
			return fmt.Errorf("%s has no %s: %+v, %v; status %+v", key, feature, e, err, c.Status())
		}
		return nil
	})
}

// serveSync answers Sync as a syncer does: write, then reply.
func serveSync(tb testing.TB, nc *nats.Conn,
	write func(customer, account string) (entitlement.Snapshot, uint64, error)) {
	tb.Helper()
	sub, err := nc.Subscribe(entitlement.SyncSubject(entitlement.Live), func(m *nats.Msg) {
		var q struct{ Customer, Account string }
		reply := nats.NewMsg(m.Reply)
		if err := json.Unmarshal(m.Data, &q); err != nil {
			tb.Errorf("request %q: %v", m.Data, err)
		}
		s, rev, err := write(q.Customer, q.Account)
		var refused *entitlement.SyncError
		if errors.As(err, &refused) {
			reply.Header.Set("Nats-Service-Error", refused.Text)
			reply.Header.Set("Nats-Service-Error-Code", fmt.Sprint(refused.Code))
		} else {
			reply.Data = fmt.Appendf(nil, `{"snapshot":%s,"revision":%d}`, s.Encode(), rev)
		}
		if err := m.RespondMsg(reply); err != nil {
			tb.Error(err)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		tb.Fatal(err)
	}
	// An answer that is late may not meet the connection closed, nor the test over.
	answered := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(answered) })
	tb.Cleanup(func() {
		if err := sub.Drain(); err != nil {
			tb.Error(err)
			return
		}
		<-answered
	})
}
