package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/mirror"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// patience bounds what a test waits for; nothing takes nearly as long unless it is stuck.
const patience = 5 * time.Minute

var bucket = entitlement.Bucket(entitlement.Test)

// shipped makes a server one of nats.conf.
func shipped(t testing.TB) natstest.Option {
	t.Helper()
	conf, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *server.Options) { *o = *conf.Clone() }
}

// as are the options of a client of ours: a user with its password and its inbox.
func as(user string) []nats.Option {
	return []nats.Option{nats.UserInfo(user, user+"-dev"), nats.CustomInboxPrefix("_INBOX_" + user)}
}

// A rig is the two accounts on one server.
type rig struct {
	t   testing.TB
	srv *natstest.Server
	// ops reaches the buckets, app the mirrors.
	ops, app jetstream.JetStream
	// acts are what the keepers did, in order.
	mu   sync.Mutex
	acts []string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	srv := natstest.Run(t, shipped(t))
	r := &rig{t: t, srv: srv, ops: srv.JetStream(t, as("ops")...), app: srv.JetStream(t, as("app")...)}
	r.provision()
	return r
}

func (r *rig) provision() {
	r.t.Helper()
	if err := topology.Wait(r.t.Context(), r.ops, topology.Syncer(topology.Options{}, entitlement.Test),
		func(error) {}); err != nil {
		r.t.Fatal(err)
	}
}

// keep runs a keeper until the test ends.
func (r *rig) keep(user string) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	k := mirror.Keeper{
		NATS: r.srv.Conn(r.t, as(user)...),
		Log:  slog.New(slog.DiscardHandler),
		Acted: func(bucket string, a mirror.Action) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.acts = append(r.acts, bucket+" "+string(a))
		},
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() { cancel(); running.Wait() })
}

func (r *rig) acted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.acts...)
}

func (r *rig) kv() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.ops.KeyValue(r.t.Context(), bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

func snapshot(customer string, features ...string) entitlement.Snapshot {
	return entitlement.Snapshot{
		Schema: entitlement.Schema, Customer: customer, Status: "active", Access: true, Features: features,
	}
}

func (r *rig) put(customers ...string) {
	r.t.Helper()
	kv := r.kv()
	for _, c := range customers {
		s := snapshot(c, "api")
		if _, err := kv.Put(r.t.Context(), c, s.Encode()); err != nil {
			r.t.Fatal(err)
		}
	}
}

func customers(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("cus_%03d", i))
	}
	return ids
}

// equal waits until the mirror has the keys and revisions of its bucket, and is of its incarnation.
func (r *rig) equal() {
	r.t.Helper()
	natstest.Eventually(r.t, patience, func() error {
		ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
		defer cancel()
		origin, err := r.ops.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return err
		}
		copied, err := r.app.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return err
		}
		o, c := origin.CachedInfo(), copied.CachedInfo()
		switch {
		case c.Config.Metadata[entitlement.MirrorOrigin] != o.Created.UTC().Format(time.RFC3339Nano):
			return errors.New("the mirror is of another bucket")
		case o.State.NumSubjects != c.State.NumSubjects, o.State.LastSeq != c.State.LastSeq:
			return fmt.Errorf("the bucket has %d keys to %d, the mirror %d to %d",
				o.State.NumSubjects, o.State.LastSeq, c.State.NumSubjects, c.State.LastSeq)
		}
		return nil
	})
}
