package topology_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// conf loads the shipped nats.conf.
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

// as returns the connection options of a user: password and inbox.
func as(user string) nats.Option {
	return func(o *nats.Options) error {
		return errors.Join(nats.UserInfo(user, user+"-dev")(o), nats.CustomInboxPrefix("_INBOX_"+user)(o))
	}
}

// plain is a client of an app with default settings.
func plain(t *testing.T, s *natstest.Server) jetstream.JetStream {
	return allowed(t, s, "app", nats.CustomInboxPrefix("_INBOX"))
}

// allowed is a client that fails the test if it is denied anything.
func allowed(t *testing.T, s *natstest.Server, user string, more ...nats.Option) jetstream.JetStream {
	t.Helper()
	violations := make(chan error, 100)
	js := s.JetStream(t,
		append([]nats.Option{as(user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				violations <- err
			}
		})}, more...)...)
	t.Cleanup(func() {
		// The server answers in order: an earlier denial arrives before this.
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
	slices.Sort(users)
	if got, want := strings.Join(users, " "), "app gateway ingest ops syncer"; got != want {
		t.Errorf("users %s, want %s", got, want)
	}
	if o.NoAuthUser != "" {
		t.Errorf("a client without a login is %s", o.NoAuthUser)
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
	// A batch of events.
	first := &nats.Msg{Subject: event, Header: nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}}}
	last := &nats.Msg{
		Subject: event,
		Header:  nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"2"}, "Nats-Batch-Commit": {"1"}},
	}
	if err := js.Conn().PublishMsg(first); err != nil {
		t.Fatal(err)
	}
	ack, err := js.Conn().RequestMsg(last, 30*time.Second)
	if err != nil || !strings.Contains(string(ack.Data), `"count":2`) {
		t.Errorf("a batch: %v, answered %+v", err, ack)
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

// The server keeps a consumer's configuration on disk, and an app may create thousands of
// consumers. The server announces the limit to its clients.
func TestMessagesOfAppsAreSmall(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	for _, user := range []string{"app", "gateway"} {
		nc := s.Conn(t, as(user))
		natstest.Eventually(t, 5*time.Minute, func() error {
			if err := nc.Flush(); err != nil {
				return err
			}
			if got := nc.MaxPayload(); got != 4096 {
				return fmt.Errorf("%s may send %d bytes, want 4096", user, got)
			}
			return nil
		})
	}
}
