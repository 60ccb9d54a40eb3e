package topology_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
	"entitled/internal/mirror"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

var bothModes = []entitlement.Mode{entitlement.Live, entitlement.Test}

// mirrored creates the mirrors of all buckets as a syncer does, and returns when apps see them.
func mirrored(t *testing.T, s *natstest.Server) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	k := mirror.Keeper{NATS: allowed(t, s, "syncer").Conn(), Log: slog.New(slog.DiscardHandler)}
	var keeping sync.WaitGroup
	keeping.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	app := allowed(t, s, "app")
	for _, bucket := range []string{
		entitlement.Bucket(entitlement.Live), entitlement.Bucket(entitlement.Test), topology.PlansBucket,
	} {
		natstest.Eventually(t, 5*time.Minute, func() error {
			_, err := app.KeyValue(t.Context(), bucket)
			return err
		})
	}
	stop()
	keeping.Wait()
}

func TestAppsCan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := shipped(t)
	syncer := allowed(t, s, "syncer")
	// Enough data to make the server use flow control.
	const customers, size = 500, 4000
	for _, m := range bothModes {
		if err := topology.Ensure(ctx, syncer, topology.Syncer(topology.Options{}, m)); err != nil {
			t.Fatal(err)
		}
		for i := range customers {
			subject := fmt.Sprintf("$KV.%s.cus_%d", entitlement.Bucket(m), i)
			if _, err := syncer.PublishAsync(subject, make([]byte, size),
				jetstream.WithStallWait(20*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-syncer.PublishAsyncComplete()
	mirrored(t, s)
	for range 2 {
		service(t, allowed(t, s, "syncer"))
	}
	for name, js := range map[string]jetstream.JetStream{"app": plain(t, s), "gateway": allowed(t, s, "gateway")} {
		for _, m := range bothModes {
			kv, err := js.KeyValue(ctx, entitlement.Bucket(m))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			natstest.Eventually(t, 5*time.Minute, func() error {
				_, err := kv.Get(ctx, fmt.Sprintf("cus_%d", customers-1))
				return err
			})
			if err := watchOne(ctx, kv); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := kv.Status(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		reply, err := js.Conn().RequestWithContext(ctx, entitlement.SyncSubject(entitlement.Live), nil)
		if err != nil || string(reply.Data) != "fresh" {
			t.Errorf("%s: entitled.sync answers %v, %v", name, reply, err)
		}
		if n := discovered(t, js); n != 2 {
			t.Errorf("%s discovers %d services, want 2", name, n)
		}
	}
	if n := discovered(t, allowed(t, s, "ops")); n != 2 {
		t.Errorf("ops discovers %d services, want 2", n)
	}
}

func service(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	svc, err := micro.AddService(js.Conn(), micro.Config{Name: "entitled", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	// nolint:errcheck // seen by the test
	err = svc.AddEndpoint("sync", micro.HandlerFunc(func(r micro.Request) { r.Respond([]byte("fresh")) }),
		micro.WithEndpointSubject(entitlement.SyncSubject(entitlement.Live)))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
}

// discovered sends what `nats micro ls` sends, and waits for two answers.
func discovered(t *testing.T, js jetstream.JetStream) (n int) {
	t.Helper()
	nc := js.Conn()
	answers, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Unsubscribe() //nolint:errcheck // the connection is closed with the test
	if err := nc.PublishRequest("$SRV.PING", answers.Subject, nil); err != nil {
		t.Fatal(err)
	}
	for n < 2 {
		m, err := answers.NextMsg(30 * time.Second)
		if err != nil {
			t.Error(err)
			break
		}
		if strings.Contains(string(m.Data), "entitled") {
			n++
		}
	}
	return n
}

// The client that apps use needs no more permissions than the user app has.
func TestAppCanOpenAClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := shipped(t)
	syncer := allowed(t, s, "syncer")
	for _, m := range bothModes {
		if err := topology.Ensure(ctx, syncer, topology.Syncer(topology.Options{}, m)); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := syncer.KeyValue(ctx, entitlement.Bucket(entitlement.Live))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := entitlement.Snapshot{
		Schema: entitlement.Schema, Customer: "cus_1", Livemode: true, Status: entitlement.StatusNone,
	}
	if _, err := kv.Create(ctx, "cus_1", snapshot.Encode()); err != nil {
		t.Fatal(err)
	}
	docs, err := allowed(t, s, "ops").KeyValue(ctx, topology.PlansBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := docs.PutString(ctx, "live", `{"number":7,"default":{"features":["view"]}}`); err != nil {
		t.Fatal(err)
	}
	mirrored(t, s)
	for _, customers := range [][]string{nil, {"cus_1"}, {"cus_1", "cus_2"}} {
		c, err := entitlement.Open(ctx, plain(t, s).Conn(), entitlement.Live, &entitlement.Options{
			Customers: customers,
		})
		if err != nil {
			t.Fatalf("customers %q: %v", customers, err)
		}
		if _, ok := c.Get("cus_1"); !ok {
			t.Errorf("customers %q: cus_1 is unknown", customers)
		}
		natstest.Eventually(t, time.Minute, func() error {
			if st := c.Status(); st.PlansRevision != 7 || st.PlansErr != nil || !c.Has("nobody", "view") {
				return fmt.Errorf("customers %q: no default: %+v", customers, st)
			}
			return nil
		})
		c.Close()
	}
}
