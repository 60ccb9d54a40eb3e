package topology_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// The server publishes answers and consumers' deliveries under its own rights, to the subject that
// the request names. So each user of an app sends every request that it may send, with every
// harmful subject as the reply subject; afterwards every stream of ENTITLED must be unchanged.
// nats-server 2.15.3 refuses reply subjects in JetStream's API, older versions do not; no version
// refuses those of streams.
func TestAppsCannotTouchTheStreams(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	ops := stocked(t, s)
	mirrored(t, s)
	before := everything(t, ops)
	for _, user := range []string{"app", "gateway"} {
		attack(t, s, user)
		if d := cmp.Diff(before, everything(t, ops)); d != "" {
			t.Fatalf("%s changed the streams of ENTITLED: -before +after\n%s", user, d)
		}
	}
	// Only mirrors are left in APPS.
	apps, err := jetstream.NewWithAPIPrefix(ops.Conn(), "$JS.APPS.API")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range bothModes {
		st, err := apps.Stream(t.Context(), "KV_"+entitlement.Bucket(m))
		if err == nil && st.CachedInfo().Config.Mirror == nil {
			t.Errorf("%s of APPS is no mirror any more", st.CachedInfo().Config.Name)
		}
	}
}

// The same attack from inside ENTITLED does harm. If this test fails, the attack no longer works,
// and TestAppsCannotTouchTheStreams proves nothing.
func TestAnAppInTheAccountOfTheStreamsCould(t *testing.T) {
	t.Parallel()
	o := conf(t)
	var entitled *server.Account
	for _, u := range o.Users {
		if u.Username == "ops" {
			entitled = u.Account
		}
	}
	for _, u := range o.Users {
		if u.Username == "app" {
			u.Account = entitled
		}
	}
	s := natstest.Run(t, func(opts *server.Options) { *opts = *o })
	ops := stocked(t, s)
	before := everything(t, ops)
	attack(t, s, "app")
	if cmp.Diff(before, everything(t, ops)) == "" {
		t.Error("the attack changes nothing")
	}
}

// stocked returns ops of a server whose streams all have messages.
func stocked(t *testing.T, s *natstest.Server) jetstream.JetStream {
	t.Helper()
	ops := s.JetStream(t, as("ops"))
	if err := topology.Ensure(t.Context(), ops, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	for _, m := range bothModes {
		c := stripeevent.Customer{Mode: m, ID: "cus_1"}
		for _, subject := range []string{
			stripeevent.EventSubject(c, "invoice.paid"), stripeevent.SyncSubject(stripeevent.Now, c),
			stripeevent.SyncedSubject(c),
			"$KV." + entitlement.Bucket(m) + ".cus_1", "$KV.stripe_state.budget." + string(m),
			"$KV.entitled_plans." + string(m),
		} {
			snapshot := entitlement.Snapshot{
				Schema: entitlement.Schema, Customer: "cus_1", Livemode: m == entitlement.Live,
				Status: entitlement.StatusNone,
			}
			if _, err := ops.Publish(t.Context(), subject, snapshot.Encode()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return ops
}

// everything returns the state of each stream: its configuration, messages and consumers.
func everything(t *testing.T, ops jetstream.JetStream) map[string]string {
	t.Helper()
	found := map[string]string{}
	streams := ops.ListStreams(t.Context())
	for info := range streams.Info() {
		st, err := ops.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%+v %d to %d, %d messages", info.Config, info.State.FirstSeq, info.State.LastSeq,
			info.State.Msgs)
		consumers := st.ListConsumers(t.Context())
		var names []string
		for c := range consumers.Info() {
			if !strings.HasPrefix(c.Name, "JS_MIRROR_") { // a mirror creates these as needed
				names = append(names, fmt.Sprintf("%s %v %d", c.Name, c.Paused, c.Delivered.Consumer))
			}
		}
		slices.Sort(names)
		found[info.Config.Name] = text.String() + strings.Join(names, ", ")
	}
	if err := streams.Err(); err != nil || len(found) < 7 {
		t.Fatalf("%d streams, %v", len(found), err)
	}
	return found
}

// targets returns subjects on which a message of the server does harm.
func targets() (subjects []string) {
	for _, stream := range strings.Fields("STRIPE_EVENTS STRIPE_SYNC STRIPE_SYNCED KV_stripe_pace KV_stripe_state " +
		"KV_entitlements_live KV_entitlements_test KV_entitled_plans") {
		for _, verb := range strings.Fields(
			"DELETE PURGE UPDATE CREATE SNAPSHOT RESTORE MSG.DELETE PEER.REMOVE LEADER.STEPDOWN") {
			subjects = append(subjects, "$JS.API.STREAM."+verb+"."+stream)
		}
		subjects = append(subjects, "$JS.API.CONSUMER.CREATE."+stream, "$JS.ENTITLED.API.CONSUMER.CREATE."+stream,
			"$JS.ENTITLED.API.STREAM.DELETE."+stream)
	}
	for _, m := range bothModes {
		c := stripeevent.Customer{Mode: m, ID: "cus_2"}
		for _, consumer := range []string{
			topology.LaneConsumer(m, stripeevent.Now), topology.LaneConsumer(m, stripeevent.Bulk),
			topology.JobConsumer(m),
		} {
			for _, verb := range strings.Fields("DELETE PAUSE LEADER.STEPDOWN MSG.NEXT") {
				subjects = append(subjects, "$JS.API.CONSUMER."+verb+".STRIPE_SYNC."+consumer)
			}
			subjects = append(subjects, "$JS.ACK.STRIPE_SYNC."+consumer+".1.1.1.1.0")
		}
		subjects = append(subjects, stripeevent.EventSubject(c, "invoice.paid"),
			stripeevent.SyncSubject(stripeevent.Now, c),
			stripeevent.SyncSubject(stripeevent.Bulk, c), stripeevent.SyncedSubject(c), stripeevent.WakeSubject(c),
			stripeevent.JobSubject(m, "sweep"),
			stripeevent.CronSubject(m, "sweep"), "$KV."+entitlement.Bucket(m)+".cus_1",
			"$KV."+entitlement.Bucket(m)+".cus_2")
	}
	return append(subjects, "$KV.entitled_plans.live", "$KV.entitled_plans.live.1", "$KV.stripe_state.budget.live",
		"$KV.stripe_pace.cus_2", "$JS.API.META.LEADER.STEPDOWN",
		"$JS.API.ACCOUNT.PURGE.ENTITLED",
		"mirror.apps.x", "$SRV.PING", "entitled.sync.live")
}

// attack sends every request that the user may send, with each target as the reply subject and as
// the delivery subject of a consumer.
func attack(t *testing.T, s *natstest.Server, user string) {
	t.Helper()
	var allowed []string
	for _, u := range conf(t).Users {
		if u.Username == user {
			allowed = u.Permissions.Publish.Allow
		}
	}
	if len(allowed) < 20 {
		t.Fatalf("user %s may publish only %q", user, allowed)
	}
	nc := s.Conn(t, as(user))
	for _, target := range targets() {
		for n, pattern := range allowed {
			for _, body := range bodies(pattern, target, n) {
				subject := literal(pattern, n)
				m := &nats.Msg{Subject: subject, Reply: target, Data: body}
				if strings.HasPrefix(subject, "$JS.API.CONSUMER.CREATE.") && body != nil {
					m.Reply = "" // only the delivery is misdirected
				}
				if err := nc.PublishMsg(m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	settled(t, s, nc)
}

// literal returns a subject that the pattern matches. A consumer's name and filter are parts of its
// subject.
func literal(pattern string, n int) string {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(pattern, "$JS.API.CONSUMER.CREATE.KV_"), ".")
	switch {
	case strings.HasPrefix(pattern, "$JS.API.CONSUMER.CREATE."):
		return fmt.Sprintf("$JS.API.CONSUMER.CREATE.KV_%s.c%d.$KV.%s.cus_1", bucket, n, bucket)
	case strings.HasPrefix(pattern, "$JS.API.DIRECT.GET.") && strings.HasSuffix(pattern, ".>"):
		bucket, _, _ := strings.Cut(strings.TrimPrefix(pattern, "$JS.API.DIRECT.GET.KV_"), ".")
		return strings.TrimSuffix(pattern, ">") + "$KV." + bucket + ".cus_1"
	}
	return strings.NewReplacer("*", "x", ">", "x").Replace(pattern)
}

// bodies returns bodies to send: none, a key that exists, one that does not, and a consumer that
// delivers to the target.
func bodies(pattern, target string, n int) [][]byte {
	if !strings.HasPrefix(pattern, "$JS.API.CONSUMER.CREATE.") {
		return [][]byte{nil, []byte(`{"last_by_subj":"none"}`), []byte(`{"last_by_subj":"$KV.>"}`), []byte(`{"seq":1}`)}
	}
	subject := literal(pattern, n)
	stream := strings.Split(subject, ".")[4]
	create, err := json.Marshal(map[string]any{"stream_name": stream, "config": map[string]any{
		"name": fmt.Sprintf("c%d", n), "deliver_subject": target, "deliver_policy": "all", "ack_policy": "none",
		"max_deliver": 1, "mem_storage": true,
		"filter_subject": "$KV." + strings.TrimPrefix(stream, "KV_") + ".cus_1",
		"idle_heartbeat": int64(100 * time.Millisecond), "num_replicas": 1,
	}})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return [][]byte{nil, create}
}

// settled returns when the server has handled all requests and those that they caused.
func settled(t *testing.T, s *natstest.Server, nc *nats.Conn) {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	ops := s.JetStream(t, as("ops"))
	for range 5 {
		// API requests are handled in order, and each answer may have been another request.
		if _, err := ops.AccountInfo(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ops.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
	}
}
