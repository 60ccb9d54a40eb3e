package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/servers"
	"entitled/internal/topology"
)

// TestReplicaLostItsMessages: a replica without a message that calls itself well, and that its
// leader calls current.
func TestReplicaLostItsMessages(t *testing.T) {
	t.Parallel()
	// A server that syncs every write would cut its store back to the last snapshot of its Raft
	// log, and mend it by that.
	c := natstest.Cluster(t, 3, shipped(t), func(o *server.Options) { o.SyncAlways = false })
	cfg, js := from(t, c.Servers[0].Conn(t), 3)
	apply(t, js, cfg)
	bucket := entitlement.Bucket(entitlement.Test)
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for i := range 7 {
		if last, err = kv.Put(t.Context(), fmt.Sprint("k", i%3), nil); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, patience, func() error {
		const want = "ok replica contents: the 3 servers that answer hold what the leaders hold → "
		if got := contents(t.Context(), cfg, 100*time.Millisecond); len(got) != 1 || shows(got[0]) != want {
			return fmt.Errorf("all well: %v", got)
		}
		return nil
	})
	stream, err := js.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	victim := c.Servers[0]
	for _, s := range c.Servers[1:] {
		if s.Name() != stream.CachedInfo().Cluster.Leader {
			victim = s // the client stays with the first
		}
	}
	messages := filepath.Join(victim.JetStreamConfig().StoreDir, "ENTITLED", "streams", "KV_"+bucket, "msgs")
	victim.Shutdown()
	if err := os.RemoveAll(messages); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(messages, os.DirFS(emptyAfter(t, stream.CachedInfo().Config, last))); err != nil {
		t.Fatal(err)
	}
	victim.Restart()
	want := fmt.Sprintf(
		"KV_%s: %s holds 0 messages (%d to %d), and %s, which leads, 3 messages (5 to %d), and calls that",
		bucket, victim.Name(), last+1, last, stream.CachedInfo().Cluster.Leader, last)
	natstest.Eventually(t, patience, func() error {
		if !victim.JetStreamIsCurrent() {
			return fmt.Errorf("%s has not caught up", victim.Name())
		}
		got := contents(t.Context(), cfg, 100*time.Millisecond)
		if len(got) != 1 || got[0].State != Fail || !strings.HasPrefix(got[0].Text, want) {
			return fmt.Errorf("%v, want %s", got, want)
		}
		if checks := replicas(t.Context(), js, cfg); len(checks) != 1 || checks[0].State != OK {
			return fmt.Errorf("its leader: %v", checks)
		}
		return nil
	})
}

// emptyAfter is a directory with the messages of a stream that had the last one, and has none.
func emptyAfter(t *testing.T, config jetstream.StreamConfig, last uint64) string {
	t.Helper()
	srv := natstest.Run(t)
	config.Replicas, config.FirstSeq = 1, last+1
	if _, err := srv.JetStream(t).CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	store := srv.JetStreamConfig().StoreDir
	srv.Shutdown()
	return filepath.Join(store, "$G", "streams", config.Name, "msgs")
}

// TestDiffering: two looks at one stream on three servers.
func TestDiffering(t *testing.T) {
	t.Parallel()
	type on = map[string]servers.Extent
	whole := servers.Extent{Messages: 177, First: 375, Last: 551}
	later := servers.Extent{Messages: 177, First: 380, Last: 560}
	ahead := servers.Extent{Messages: 177, First: 700, Last: 900}
	one := servers.Extent{Messages: 1, First: 551, Last: 551}
	off := servers.Extent{First: 552, Last: 551}
	none := servers.Extent{First: 375, Last: 374}
	at := func(stream, leader string, has on, notCurrent ...string) servers.Inventory {
		h := &servers.Holding{Leader: leader, On: has, Current: map[string]bool{}}
		for name := range has {
			h.Current[name] = name != leader && !slices.Contains(notCurrent, name)
		}
		return servers.Inventory{Servers: len(has), Streams: map[string]*servers.Holding{stream: h}}
	}
	const kv = "KV_entitlements_test"
	look := func(n1, n2, n3 servers.Extent, notCurrent ...string) servers.Inventory {
		return at(kv, "n1", on{"n1": n1, "n2": n2, "n3": n3}, notCurrent...)
	}
	const empty = "KV_entitlements_test: n3 holds 0 messages (375 to 374), and n1, which leads, 177 messages "
	for name, tt := range map[string]struct {
		before, now servers.Inventory
		want        string // the beginning of the text
	}{
		"they agree": {look(whole, whole, whole), look(whole, whole, whole), ""},
		"empty": {look(whole, whole, none), look(whole, whole, none),
			empty + "(375 to 551), and calls that current"},
		"empty beside a busy one": {look(whole, whole, none), look(later, later, none), empty + "(380 to 560)"},
		"fewer, as far": {look(whole, whole, one), look(whole, whole, one),
			"KV_entitlements_test: n3 holds 1 message (551 to 551)"},
		"further than its leader": {
			look(whole, whole, later), look(whole, whole, later),
			"KV_entitlements_test: n3 holds 177 messages (380 to 560)"},
		"further than a busy leader": {
			look(whole, whole, ahead), look(later, later, ahead),
			"KV_entitlements_test: n3 holds 177 messages (700 to 900)"},
		"a moment behind":         {look(later, later, whole), look(later, later, later), ""},
		"always a moment behind":  {look(whole, whole, none), look(later, later, whole), ""},
		"where the leader was":    {look(whole, whole, whole), look(later, later, whole), ""},
		"applies, slowly":         {look(later, later, none), look(later, later, whole), ""},
		"its leader says it lags": {look(whole, whole, none, "n3"), look(whole, whole, none, "n3"), ""},
		"it lagged at the first":  {look(whole, whole, none, "n3"), look(whole, whole, none), ""},
		"another leader": {
			at(kv, "n2", on{"n1": whole, "n2": whole, "n3": none}), look(whole, whole, none), ""},
		"no leader":   {look(whole, whole, none), at(kv, "", on{"n1": whole, "n2": whole, "n3": none}), ""},
		"n3 was away": {at(kv, "n1", on{"n1": whole, "n2": whole}), look(whole, whole, none), ""},
		"the leader has lost": {look(none, whole, whole), look(none, whole, whole),
			"n1 leads KV_entitlements_test with 0 messages (375 to 374), and n2 and n3 hold 177 messages (375 to " +
				"551): "},
		"each has another": {look(whole, none, later), look(whole, none, later),
			"KV_entitlements_test: n2 holds 0 messages (375 to 374), n3 holds 177 messages (380 to 560), and n1"},
		"not a stream of the topology": {
			at("X", "n1", on{"n1": whole, "n2": none}), at("X", "n1", on{"n1": whole, "n2": none}), ""},
		"a work queue that was worked off": {
			at(topology.SyncStream, "n1", on{"n1": off, "n2": whole}),
			at(topology.SyncStream, "n1", on{"n1": off, "n2": whole}), ""},
		"a work queue that stands still": {
			at(topology.SyncStream, "n1", on{"n1": whole, "n2": none}),
			at(topology.SyncStream, "n1", on{"n1": whole, "n2": none}),
			"STRIPE_SYNC: n2 holds 0 messages (375 to 374)"},
	} {
		got := ""
		for _, d := range servers.Differing([]string{kv, topology.SyncStream}, topology.SyncStream, tt.before, tt.now) {
			got += differs(d)
		}
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
