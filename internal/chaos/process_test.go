package chaos

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natsproc"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/stripesim"
)

var kills = flag.Int("kills", 20, "how often TestKills kills a process on one server; on three half as often")

func TestMain(m *testing.M) {
	natsproc.Main()
	natstest.Main(m)
}

// startNATS starts servers with the shipped nats.conf, or with NATS's default of when to sync. They
// keep their stores in dir.
func startNATS(tb testing.TB, servers int, dir string, lazy bool) *natsproc.Cluster {
	tb.Helper()
	c, err := natsproc.Start(tb.Context(), natsproc.Config{
		Servers: servers, Dir: dir, Conf: "../../nats.conf", LazySync: lazy, User: url.UserPassword("ops", "ops-dev"),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// A victim is a process that is killed and started again.
type victim struct {
	name  string
	start func()
	kill  func()
	down  bool
	back  time.Time
}

// program is one of ours, which is started again with the same settings.
func program(tb testing.TB, name, path string, env ...string) *victim {
	var cmd *exec.Cmd
	v := &victim{name: name}
	v.start = func() {
		tb.Helper()
		cmd = exec.Command(path)
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
	}
	v.kill = func() {
		if cmd != nil {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
			cmd = nil
		}
	}
	tb.Cleanup(v.kill)
	return v
}

// server is one of the servers of a cluster.
func server(tb testing.TB, c *natsproc.Cluster, i int) *victim {
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return &victim{
		name:  "nats-server",
		start: func() { must(c.Run(tb.Context(), i)) },
		kill:  func() { must(c.Kill(i)) },
	}
}

func connect(tb testing.TB, c *natsproc.Cluster) *nats.Conn {
	tb.Helper()
	var nc *nats.Conn
	err := poll(tb.Context(), restWithin, func() (err error) {
		nc, err = nats.Connect(c.URL(), nats.CustomInboxPrefix(inbox), nats.MaxReconnects(-1),
			nats.ReconnectWait(10*time.Millisecond),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// build makes the real programs in dir. Without its symbols a program is linked in half the time.
func build(dir string, names ...string) error {
	args := []string{"build", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, "entitled/cmd/"+name)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", names, err, out)
	}
	return nil
}

// The real programs and the real nats.conf, each a process of its own, are killed with SIGKILL in the
// middle of their work, again and again. Nothing that was answered 2xx is lost, and in the end every
// snapshot is right. On one server, and on three.
func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills processes")
	}
	t.Parallel()
	dir := t.TempDir()
	built := sync.OnceValue(func() error { return build(dir, "ingest", "syncer") })
	go built() // while the servers start; the subtests wait for it
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers), func(t *testing.T) {
			t.Parallel()
			killAll(t, dir, built, servers)
		})
	}
}

func killAll(t *testing.T, dir string, built func() error, servers int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*kills)*10*time.Second+5*time.Minute)
	defer cancel()
	ports, err := natsproc.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}

	s := &stage{
		// A killed server forgets what it had not written yet of STRIPE_SYNC: that is lossy. Three
		// do not.
		cfg: Config{
			Lossy: servers == 1, Seed: *seed, Customers: 150, Patience: time.Second, Freight: *kills * 500_000,
			Log: logger().With("servers", servers),
		},
		report: Report{Seed: *seed}, said: newSaid(), fate: dice(*seed, 1), paper: dice(*seed, 3),
		poisoned: map[string]bool{}, hurry: true,
	}
	defer s.close()
	if s.marks, err = stripeevent.ParseTypes(joined(stripeevent.DefaultTypes())); err != nil {
		t.Fatal(err)
	}
	s.sim = stripesim.New(stripesim.Config{
		Seed: *seed, Start: time.Now().Add(-400 * 24 * time.Hour), LogSize: 300_000, InlineItems: 2,
		RetryFactor: 8000, DeliveryTimeout: 5 * time.Second, DeliveryConcurrency: 64,
	})
	api, err := serve(s.said.overhear(s.sim))
	if err != nil {
		t.Fatal(err)
	}
	s.served = append(s.served, api)

	nats := startNATS(t, servers, t.TempDir(), false)
	if servers > 1 {
		s.cluster = nats
	}
	s.nc = connect(t, nats)
	if s.js, err = jetstream.New(s.nc); err != nil {
		t.Fatal(err)
	}
	options, err := s.options(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := built(); err != nil {
		t.Fatal(err)
	}
	victims := killable(t, dir, nats, ports, api.url)
	s.syncer = syncer.Config{
		Stripe: stripeConfig(api.url), Rate: rate, Marks: s.marks,
		CoverageEvery: 5 * time.Minute, Timing: natstest.Timing, Log: silent(),
		Topology: options,
	}
	s.mend = func(now time.Time) error {
		for _, v := range victims {
			if v.down && now.After(v.back) {
				v.start()
				v.down = false
			}
		}
		return nil
	}
	s.door = newDoor(func(pick int) string {
		return "http://127.0.0.1:" + strconv.Itoa(ports[pick%2]) + "/webhooks/stripe"
	}, s.said, s.marks, s.digestOf)
	front, err := serve(s.door)
	if err != nil {
		t.Fatal(err)
	}
	s.served = append(s.served, front)
	for _, connect := range []bool{false, true} {
		s.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: front.url, Secrets: []string{secret}, Connect: connect})
	}
	if s.client, err = entitlement.Open(ctx, s.nc, mode, &entitlement.Options{CheckEvery: time.Second}); err != nil {
		t.Fatal(err)
	}
	if s.life, err = newLife(s, dice(*seed, 2)); err != nil {
		t.Fatal(err)
	}

	if err := s.beginLap(ctx); err != nil {
		t.Fatal(err)
	}
	s.sim.SetFaults(stripesim.Faults{
		Latency:      stripesim.Range{Max: 60 * time.Millisecond},
		WebhookDelay: stripesim.Range{Max: 100 * time.Millisecond}, Error500: 0.02,
	})
	if servers > 1 {
		s.carry(ctx)
	}
	killed := map[string]int{}
	// As in a storm, time is counted in what was drawn.
	drawn, next := time.Duration(0), 300*time.Millisecond
	enough := *kills
	if servers > 1 {
		enough /= 2 // an election takes longer than a start
	}
	for n := 0; n < enough && ctx.Err() == nil; {
		s.life.step()
		s.report.Steps++
		pause := s.span(2, 20)
		drawn += pause
		s.breathe(ctx, pause)
		if drawn < next {
			continue
		}
		next = drawn + s.span(40, 200)
		v, back := victims[s.fate.IntN(len(victims))], s.span(10, 200)
		if !v.down {
			s.cfg.Log.Debug("kill " + v.name)
			v.kill()
			v.down, v.back = true, time.Now().Add(back)
			killed[v.name]++
			n++
		}
	}
	if err := s.calm(ctx); err != nil {
		t.Fatalf("seed %d, %v: %v", *seed, killed, err)
	}
	if err := s.judge(ctx); err != nil {
		t.Errorf("seed %d, %v: %v", *seed, killed, err)
	}
	t.Logf("killed %v; %s", killed, s.sum())
}

// killable starts two of each program, and is these and the servers.
func killable(t *testing.T, dir string, nats *natsproc.Cluster, ports []int, stripe string) (victims []*victim) {
	for i := range nats.Size() {
		victims = append(victims, server(t, nats, i))
	}
	for _, port := range ports {
		shared := []string{
			"NATS_URL=" + withoutUser(nats.URL()), "REPLICAS=" + strconv.Itoa(nats.Size()), "ADMIN_ADDR=127.0.0.1:0",
		}
		in := program(t, "ingest", filepath.Join(dir, "ingest"), append([]string{
			"NATS_USER=ingest", "NATS_PASSWORD=ingest-dev", "STRIPE_WEBHOOK_SECRETS=" + secret, "PUBLISH_TIMEOUT=1s",
			"LISTEN_ADDR=127.0.0.1:" + strconv.Itoa(port),
		}, shared...)...)
		sync := program(t, "syncer", filepath.Join(dir, "syncer"), append([]string{
			"NATS_USER=syncer", "NATS_PASSWORD=syncer-dev", "STRIPE_API_KEY=" + simulatedKey,
			"STRIPE_API_BASE=" + stripe,
			"STRIPE_RATE=" + strconv.Itoa(rate),
		}, shared...)...)
		in.start()
		sync.start()
		victims = append(victims, in, sync)
	}
	return victims
}

func withoutUser(urls string) string { return strings.ReplaceAll(urls, "ops:ops-dev@", "") }

func joined(types []string) (list string) {
	for i, typ := range types {
		if i > 0 {
			list += ","
		}
		list += typ
	}
	return list
}
