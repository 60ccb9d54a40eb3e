package doctor

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natsproc"
	"entitled/internal/natstest"
	"entitled/internal/servers"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

func TestMain(m *testing.M) {
	natsproc.Main()
	natstest.Main(m)
}

// shipped gives a server the nats.conf that is shipped; a client that does not log in is ops.
func shipped(t *testing.T) natstest.Option {
	t.Helper()
	o, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	o.NoAuthUser = "ops"
	for _, u := range o.Users {
		if u.Username == "ops" {
			u.Permissions.Subscribe.Deny = nil // of the default inbox
		}
	}
	return func(opts *server.Options) { *opts = *o.Clone() }
}

// from configures a doctor on another machine: a connection, and no monitoring port within reach.
func from(t *testing.T, nc *nats.Conn, replicas int) (Config, jetstream.JetStream) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return Config{NATS: nc, Modes: []entitlement.Mode{entitlement.Test}, Topology: topology.Options{Replicas: replicas},
		Monitor: "http://127.0.0.1:1",
		Now:     time.Now}, js
}

// apply creates the streams and buckets of the syncers. On a busy machine a server of a cluster may
// look offline for a moment.
func apply(t *testing.T, js jetstream.JetStream, cfg Config) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		_, err := topology.Apply(t.Context(), js, topology.Syncer(cfg.Topology, entitlement.Test), topology.ApplyOptions{})
		return err
	})
}

// shows is one check as a line.
func shows(c Check) string { return fmt.Sprintf("%s %s: %s → %s", c.State, c.Name, c.Text, c.Next) }

func seen(t *testing.T, cfg Config) (lines map[string]string) {
	t.Helper()
	lines = map[string]string{}
	for _, c := range natsServers(cfg, look(t.Context(), cfg)) {
		lines[c.Name] = shows(c)
	}
	return lines
}

// TestFullFromAnotherMachine: a store that takes no more is seen over the connection, before that
// when it is worth a look.
func TestFullFromAnotherMachine(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, shipped(t), func(o *server.Options) { o.JetStreamMaxStore = 256 << 10 })
	cfg, js := from(t, srv.Conn(t), 1)
	apply(t, js, cfg)
	store := func() Check { return fill(look(t.Context(), cfg).fleet) }
	if got := store(); got.State != OK || got.Text != "0 bytes of 256.0 KiB (0 %)" {
		t.Errorf("empty: %s", shows(got))
	}
	subject := stripeevent.EventSubject(customer("cus_1"), "invoice.paid")
	states := map[State]Check{}
	natstest.Eventually(t, patience, func() error {
		if _, err := js.Publish(t.Context(), subject, make([]byte, 8<<10)); err == nil || !topology.IsNoRoom(err) {
			c := store()
			states[c.State] = c
			return fmt.Errorf("it takes more: %w", err)
		}
		return nil
	})
	if c := states[Warn]; !strings.HasPrefix(c.Text, "2") ||
		!strings.HasSuffix(c.Text, "%): once it is full, every webhook is answered 503") || c.Next == "" {
		t.Errorf("on the way: %s", shows(c))
	}
	if c := store(); c.State != Fail ||
		!regexp.MustCompile(`^2\d\d\.\d KiB of 256\.0 KiB \(10\d %\): it takes no more, and webhooks are answered 503$`).MatchString(c.Text) || c.Next == "" {
		t.Errorf("full: %s", shows(c))
	}
}

// TestDeadServer: of three, one is missed by its name, and the streams say what they miss.
func TestDeadServer(t *testing.T) {
	t.Parallel()
	c := natstest.Cluster(t, 3, shipped(t))
	cfg, js := from(t, c.Servers[0].Conn(t), 3)
	apply(t, js, cfg)
	natstest.Eventually(t, patience, func() error {
		lines := seen(t, cfg)
		want := map[string]string{
			"nats servers": "ok nats servers: 3 of 3 answer, version " + server.VERSION + ": n1, n2, n3 → ",
			"durability":   "ok durability: sync_interval is always on all 3: acknowledged messages are on disk → ",
			"nats health":  "ok nats health: /healthz is ok on all 3: they find nothing wrong with their streams → ",
		}
		store := lines["nats store"]
		delete(lines, "nats store")
		checks := replicas(t.Context(), js, cfg)
		if diff := cmp.Diff(want, lines); diff != "" || !strings.HasPrefix(store, "ok nats store: n1 ") ||
			len(checks) != 1 ||
			!strings.HasPrefix(shows(checks[0]), "ok replicas: all current, 3 replicas of each: n") {
			return fmt.Errorf("three of three: %s%s\n%v", diff, store, checks)
		}
		return nil
	})
	c.Servers[2].Shutdown()
	var looking sync.WaitGroup // it waits for the answer of the third
	defer looking.Wait()
	looking.Go(func() {
		if got, want := seen(t, cfg)["nats servers"],
			"fail nats servers: 2 of 3 answer; missing: n3 → "; !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
	natstest.Eventually(t, patience, func() error {
		checks := replicas(t.Context(), js, cfg)
		if len(checks) != 1 || checks[0].State != Warn ||
			!strings.HasPrefix(checks[0].Text, "n3 is away from STRIPE_EVENTS, ") {
			return fmt.Errorf("replicas: %v", checks)
		}
		return nil
	})
}

// TestReplicaLags: one that does not come to where its leader was a second ago is behind.
func TestReplicaLags(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := natsproc.Start(ctx, natsproc.Config{
		Servers: 3, Dir: t.TempDir(), Conf: "../../nats.conf", User: url.UserPassword("ops", "ops-dev"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	nc, err := nats.Connect(c.URL(), nats.CustomInboxPrefix("_INBOX_ops"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	cfg, js := from(t, nc, 3)
	apply(t, js, cfg)
	follower := (c.StreamLeader(ctx, topology.EventsStream) + 1) % c.Size()
	c.Lag(follower, 3*time.Second)
	subject := stripeevent.EventSubject(customer("cus_1"), "invoice.paid")
	want := regexp.MustCompile(fmt.Sprintf(`n%d is behind the leaders of STRIPE_EVENTS by \d+ operations`, follower+1))
	natstest.Eventually(t, patience, func() error {
		for range 7 {
			if _, err := js.Publish(ctx, subject, nil); err != nil {
				return err
			}
		}
		checks := replicas(ctx, js, cfg)
		if len(checks) != 1 || checks[0].State != Warn || !want.MatchString(checks[0].Text) {
			return fmt.Errorf("%v, want %s", checks, want)
		}
		return nil
	})
}

// TestReplicaCheck: two looks at one stream, a second apart.
func TestReplicaCheck(t *testing.T) {
	t.Parallel()
	at := func(last uint64, replicas ...*jetstream.PeerInfo) []replicated {
		return []replicated{{name: "STRIPE_EVENTS", info: &jetstream.StreamInfo{
			State: jetstream.StreamState{LastSeq: last}, Cluster: &jetstream.ClusterInfo{
				Leader: "nats-1", Replicas: replicas,
			},
		}}}
	}
	current := &jetstream.PeerInfo{Name: "nats-2", Current: true}
	late := &jetstream.PeerInfo{Name: "nats-3", Lag: 30}
	lacks := at(5, current)
	lacks[0].info.Config.Replicas = 3
	for name, tt := range map[string]struct {
		before, now []replicated
		want        string
	}{
		"current": {at(5, current), at(5, current),
			"ok replicas: all current, 2 replicas of each: nats-1 leads STRIPE_EVENTS → "},
		"keeps up under load": {at(1000, current, late), at(1030, current, late),
			"ok replicas: all current, 3 replicas of each: nats-1 leads STRIPE_EVENTS → "},
		"stands still": {at(1000, current, late), at(1029, current, late),
			"warn replicas: nats-3 is behind the leaders of STRIPE_EVENTS by 30 operations → check again in a minute"},
		"away": {at(5, current), at(5, current, &jetstream.PeerInfo{Name: "nats-3", Offline: true}),
			"warn replicas: nats-3 is away from STRIPE_EVENTS → start it"},
		"gone": {at(5, current), lacks,
			"fail replicas: STRIPE_EVENTS has 2 replicas of 3 → check that all servers run"},
		"no leader": {at(5, current), []replicated{{name: "STRIPE_EVENTS", err: context.DeadlineExceeded}},
			"fail replicas: STRIPE_EVENTS has no leader → check that most"},
		"the topology's concern": {nil, []replicated{{name: "STRIPE_EVENTS", err: jetstream.ErrStreamNotFound}},
			"ok replicas: there are none → "},
	} {
		if got := shows(replicaCheck(tt.before, tt.now)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestServersDiffer: what cannot be had in one process.
func TestServersDiffer(t *testing.T) {
	t.Parallel()
	cfg := Config{Topology: topology.Options{Replicas: 3}}
	fleet := func(change func(all []servers.Server), missing ...string) servers.Fleet {
		f := servers.Fleet{Size: 3, Missing: missing}
		for i := range 3 - len(missing) {
			s := servers.Server{
				Name: fmt.Sprintf("nats-%d", i+1), ID: fmt.Sprint(i), Version: "2.15.3",
				Health: &servers.Health{Status: "ok"},
			}
			s.JetStream.Config.SyncAlways, s.JetStream.Config.MaxStorage = true, 10<<30
			f.Servers = append(f.Servers, s)
		}
		change(f.Servers)
		return f
	}
	alone := fleet(func([]servers.Server) {})
	alone.Servers, alone.Size = alone.Servers[:1], 1
	for name, tt := range map[string]struct {
		seen sight
		want string
	}{
		"a rolling upgrade": {sight{fleet: fleet(func(all []servers.Server) { all[2].Version = "2.14.10" })},
			"warn nats servers: their versions differ: nats-1 2.15.3, nats-2 2.15.3, nats-3 2.14.10 → finish the " +
				"rolling upgrade"},
		"too old": {sight{fleet: fleet(func(all []servers.Server) { all[1].Version = "2.12.1" })},
			"fail nats servers: nats-2: has version 2.12.1; their versions differ: nats-1 2.15.3, nats-2 2.12.1, " +
				"nats-3 2.15.3 → upgrade it to 2.14 or newer; finish the rolling upgrade"},
		"one for REPLICAS=3": {sight{fleet: alone},
			"fail nats servers: REPLICAS is 3, and there is 1 server → see docs/operations/cluster.md for the " +
				"steps from one server to three: the store folders must be new"},
		"one at a port": {sight{
			fleet: fleet(func([]servers.Server) {}, "nats-2", "nats-3"), port: "http://nats-1:8222",
		},
			"unseen nats servers: 1 of 3 seen, at http://nats-1:8222; not seen: nats-2, nats-3 → connect to each of " +
				"them and give its monitoring port, or export the two questions to this account as nats.conf does"},
		"not synced": {sight{fleet: fleet(func(all []servers.Server) {
			all[1].JetStream.Config.SyncAlways, all[1].JetStream.Config.SyncInterval = false, 2*time.Minute
		})},
			"warn durability: nats-2: the disk is synced every 2m0s: a power failure of the whole cluster loses what " +
				"was acknowledged since → sync_interval: always in the block jetstream of nats.conf, on every server"},
		"off": {sight{fleet: fleet(func(all []servers.Server) {
			all[0].JetStream.Disabled = true
			all[0].JetStream.Config.SyncAlways = false
		})},
			"fail nats health: nats-1: JetStream is off → nats-server turns JetStream off when it cannot write: make " +
				"room on its disk, then restart it; see its log"},
		"silent about its health": {sight{fleet: fleet(func(all []servers.Server) { all[0].Health = nil })},
			"unseen nats health: nats-1: /healthz is not answered → ask it at its monitoring port: curl -s " +
				"http://127.0.0.1:8222/healthz"},
		"fills": {sight{fleet: fleet(func(all []servers.Server) { all[0].JetStream.Storage = 9 << 30 })},
			"warn nats store: nats-1: 9.0 GiB of 10.0 GiB (90 %): once it is full, every webhook is answered 503 → a " +
				"larger disk and max_file_store, or a lower EVENTS_MAX_AGE; `log growth` says how long it lasts"},
		"memory": {sight{
			fleet: fleet(func(all []servers.Server) {
				all[0].JetStream.Memory, all[0].JetStream.Config.MaxMemory = 90,
					100
			}),
		},
			"warn nats store: nats-1: 90 bytes of 100 bytes in memory (90 %) → raise max_memory_store in nats.conf: " +
				"without stripe_pace, which is there, syncs cost more requests"},
	} {
		var odd []string
		for _, c := range natsServers(cfg, tt.seen) {
			if c.State != OK {
				odd = append(odd, shows(c))
			}
		}
		if diff := cmp.Diff([]string{tt.want}, odd); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestWorst: what could not be seen outweighs what is worth a look, and not what fails.
func TestWorst(t *testing.T) {
	t.Parallel()
	r := Report{State: OK}
	for _, step := range []struct{ add, want State }{
		{OK, OK},
		{Warn, Warn},
		{OK, Warn},
		{Unseen, Unseen},
		{Warn, Unseen},
		{Fail, Fail},
		{Unseen, Fail},
	} {
		if r.add(Check{State: step.add}); r.State != step.want {
			t.Errorf("after %s: %s, want %s", step.add, r.State, step.want)
		}
	}
}

// TestNotOurServers: a setting says that the servers belong to someone else.
func TestNotOurServers(t *testing.T) {
	t.Parallel()
	cfg, _ := from(t, natstest.Run(t).Conn(t), 1)
	if got := seen(t, cfg)["nats servers"]; !strings.HasPrefix(got,
		"unseen nats servers: not seen: whether acknowledged messages are on disk") {
		t.Error(got)
	}
	cfg.Monitor = NoMonitor
	if got := seen(t, cfg)["nats servers"]; !strings.HasPrefix(got,
		"warn nats servers: not looked at, as NATS_MONITOR=none says: ") {
		t.Error(got)
	}
	cfg.NATS = natstest.Run(t, shipped(t)).Conn(t, nats.UserInfo("ingest", "ingest-dev"),
		nats.CustomInboxPrefix("_INBOX_ingest"))
	cfg.Monitor = "http://127.0.0.1:1"
	if got := seen(t, cfg)["nats servers"]; !strings.HasPrefix(got, "unseen nats servers: not seen: ") ||
		!strings.HasSuffix(got, "ops of nats.conf for one") {
		t.Error(got)
	}
}
