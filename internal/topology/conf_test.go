package topology_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// conf loads the nats.conf that is shipped.
func conf(t *testing.T) *server.Options {
	t.Helper()
	o, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func shipped(t *testing.T) *natstest.Server {
	t.Helper()
	o := conf(t)
	return natstest.Run(t, func(opts *server.Options) { *opts = *o })
}

// as are the options of a client that is nobody special: a user, a password, and the default inbox.
func as(user string) nats.Option { return nats.UserInfo(user, user+"-dev") }

// allowed is a client that fails the test if it is denied anything.
func allowed(t *testing.T, s *natstest.Server, user string) jetstream.JetStream {
	t.Helper()
	violations := make(chan error, 100)
	js := s.JetStream(t, as(user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			violations <- err
		}
	}))
	t.Cleanup(func() {
		// The server speaks in order: what it denied has arrived before the answer to this.
		if err := js.Conn().Flush(); err != nil {
			t.Error(err)
		}
		if err := js.Conn().LastError(); errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s was denied: %v", user, err)
		}
		for len(violations) > 0 {
			t.Errorf("%s was denied: %v", user, <-violations)
		}
	})
	return js
}

func TestConfIsDurableAndOnLoopback(t *testing.T) {
	t.Parallel()
	o := conf(t)
	if !o.SyncAlways {
		t.Error("sync_interval is not always: acknowledged events can be lost")
	}
	if !o.JetStream || o.MaxPayload < 1<<20+64<<10 {
		t.Errorf("JetStream %t, max_payload %d: a webhook of 1 MiB does not fit", o.JetStream, o.MaxPayload)
	}
	if o.Host != "127.0.0.1" || o.HTTPHost != "127.0.0.1" || o.Port != 4222 || o.HTTPPort != 8222 {
		t.Errorf("listens on %s:%d and %s:%d", o.Host, o.Port, o.HTTPHost, o.HTTPPort)
	}
	var users []string
	for _, u := range o.Users {
		users = append(users, u.Username)
	}
	if got, want := strings.Join(users, " "), "ingest syncer app ops"; got != want {
		t.Errorf("users %s, want %s", got, want)
	}
	if o.NoAuthUser != "" {
		t.Errorf("whoever does not log in is %s", o.NoAuthUser)
	}
}

func TestNobodyEntersWithoutAPassword(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	for _, o := range []nats.Option{nats.UserInfo("", ""), nats.UserInfo("ops", ""), nats.UserInfo("ops", "app-dev")} {
		if nc, err := nats.Connect(s.URL(), o); err == nil {
			nc.Close()
			t.Error("connected")
		}
	}
}

var selfCus = stripeevent.Customer{Mode: entitlement.Live, ID: "cus_1"}

func TestIngestCan(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := allowed(t, shipped(t), "ingest")
	if err := topology.Ensure(ctx, js, topology.Ingest(topology.Options{})); err != nil {
		t.Fatalf("alone on an empty server: %v", err)
	}
	event := stripeevent.EventSubject(selfCus, "invoice.paid")
	for _, subject := range []string{event, stripeevent.SyncSubject(stripeevent.Now, selfCus)} {
		ack, err := js.PublishAsync(subject, nil, jetstream.WithMsgID("self/evt_1"))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			t.Errorf("publish %s: %v", subject, err)
		case <-time.After(30 * time.Second):
			t.Errorf("publish %s: no PubAck", subject)
		}
	}
	// The events of a crowd, as one.
	first := &nats.Msg{Subject: event, Header: nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}}}
	last := &nats.Msg{Subject: event, Header: nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"2"}, "Nats-Batch-Commit": {"1"}}}
	if err := js.Conn().PublishMsg(first); err != nil {
		t.Fatal(err)
	}
	ack, err := js.Conn().RequestMsg(last, 30*time.Second)
	if err != nil || !strings.Contains(string(ack.Data), `"count":2`) {
		t.Errorf("a batch: %v, answered %+v", err, ack)
	}
}

func TestAppCan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := shipped(t)
	syncer := allowed(t, s, "syncer")
	// Enough of it for the server to ask the watcher whether it keeps up.
	const customers, size = 500, 4000
	for _, m := range []entitlement.Mode{entitlement.Live, entitlement.Test} {
		if err := topology.Ensure(ctx, syncer, topology.Syncer(topology.Options{}, m)); err != nil {
			t.Fatal(err)
		}
		for i := range customers {
			subject := fmt.Sprintf("$KV.%s.cus_%d", entitlement.Bucket(m), i)
			if _, err := syncer.PublishAsync(subject, make([]byte, size), jetstream.WithStallWait(20*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-syncer.PublishAsyncComplete()
	svc, err := micro.AddService(syncer.Conn(), micro.Config{Name: "entitled", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	err = svc.AddEndpoint("sync", micro.HandlerFunc(func(r micro.Request) { r.Respond([]byte("fresh")) }),
		micro.WithEndpointSubject(entitlement.SyncSubject(entitlement.Live)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syncer.Conn().Flush(); err != nil {
		t.Fatal(err)
	}

	js := allowed(t, s, "app")
	for _, m := range []entitlement.Mode{entitlement.Live, entitlement.Test} {
		kv, err := js.KeyValue(ctx, entitlement.Bucket(m))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Get(ctx, "cus_1"); err != nil {
			t.Error(err)
		}
		if err := watchOne(ctx, kv); err != nil {
			t.Error(err)
		}
		if _, err := kv.Status(ctx); err != nil {
			t.Error(err)
		}
	}
	reply, err := js.Conn().RequestWithContext(ctx, entitlement.SyncSubject(entitlement.Live), nil)
	if err != nil || string(reply.Data) != "fresh" {
		t.Errorf("entitled.sync answers %v, %v", reply, err)
	}
	found, err := allowed(t, s, "ops").Conn().RequestWithContext(ctx, "$SRV.PING.entitled", nil)
	if err != nil || !strings.Contains(string(found.Data), "entitled") {
		t.Errorf("discovery answers %v, %v", found, err)
	}
}

// The client that apps use needs no more than the user app has.
func TestAppCanOpenAClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := shipped(t)
	syncer := allowed(t, s, "syncer")
	if err := topology.Ensure(ctx, syncer, topology.Syncer(topology.Options{}, entitlement.Live)); err != nil {
		t.Fatal(err)
	}
	kv, err := syncer.KeyValue(ctx, entitlement.Bucket(entitlement.Live))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := entitlement.Snapshot{Schema: entitlement.Schema, Customer: "cus_1", Livemode: true, Status: entitlement.StatusNone}
	if _, err := kv.Create(ctx, "cus_1", snapshot.Encode()); err != nil {
		t.Fatal(err)
	}
	for _, customers := range [][]string{nil, {"cus_1"}, {"cus_1", "cus_2"}} {
		c, err := entitlement.Open(ctx, allowed(t, s, "app").Conn(), entitlement.Live, &entitlement.Options{Customers: customers})
		if err != nil {
			t.Fatalf("customers %q: %v", customers, err)
		}
		if _, ok := c.Get("cus_1"); !ok {
			t.Errorf("customers %q: cus_1 is unknown", customers)
		}
		c.Close()
	}
}

func TestOpsCan(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := shipped(t)
	js := allowed(t, s, "ops")
	if _, err := topology.Apply(ctx, js, topology.All(topology.Options{}), topology.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if findings, err := topology.Check(ctx, js, topology.All(topology.Options{})); err != nil || len(findings) != 0 {
		t.Fatalf("after apply: %+v, %v", findings, err)
	}
	ack, err := js.Publish(ctx, stripeevent.EventSubject(selfCus, "invoice.paid"), nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(ctx, topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SecureDeleteMsg(ctx, ack.Sequence); err != nil {
		t.Errorf("forget one event: %v", err)
	}
	if err := st.Purge(ctx); err != nil {
		t.Error(err)
	}
}

// An inbox under a prefix of one's own is what no other user but ops can listen to.
func TestPrivateInboxes(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	for _, user := range []string{"ingest", "syncer", "app", "ops"} {
		js := s.JetStream(t, as(user), nats.CustomInboxPrefix("_INBOX_"+user))
		name := topology.EventsStream
		if user == "app" {
			name = "KV_entitlements_live"
		}
		if _, err := js.Stream(t.Context(), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s asks for %s: %v, want ErrStreamNotFound", user, name, err)
		}
	}
}

// nats.conf says so; if a server ever does better, so shall nats.conf.
func TestAnAnswerGoesWhereTheRequestSays(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	ops := s.JetStream(t, as("ops"))
	if err := topology.Ensure(t.Context(), ops, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	kv, err := ops.KeyValue(t.Context(), entitlement.Bucket(entitlement.Live))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "cus_1", "of cus_1"); err != nil {
		t.Fatal(err)
	}
	app := s.Conn(t, as("app"))
	err = app.PublishRequest("$JS.API.DIRECT.GET.KV_entitlements_live.$KV.entitlements_live.cus_1", "$KV.entitlements_live.cus_2", nil)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 30*time.Second, func() error {
		_, err := kv.Get(t.Context(), "cus_2")
		return err
	})
}
