package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

var kills = flag.Int("kills", 20, "how often TestKills kills a process")

// natsRole in the environment makes the test binary a nats-server: "port store-directory sync".
const natsRole = "ENTITLED_TEST_IS_A_NATS_SERVER"

func TestMain(m *testing.M) {
	if role := os.Getenv(natsRole); role != "" {
		if err := beNATS(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// beNATS runs the server that nats.conf describes, on another port and store. sync is "shipped", or "default" to take back
// what nats.conf says of syncing.
func beNATS(role string) error {
	var port int
	var store, sync string
	if _, err := fmt.Sscan(role, &port, &store, &sync); err != nil {
		return err
	}
	o, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		return err
	}
	o.Port, o.HTTPPort, o.HTTPHost, o.StoreDir, o.NoLog = port, 0, "", store, true
	if sync == "default" {
		o.SyncAlways, o.SyncInterval = false, 2*time.Minute
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return err
	}
	srv.Start()
	// Standard input ends with the test, however that ends.
	_, _ = io.Copy(io.Discard, os.Stdin)
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}

// A program is a process that is started again and again with the same arguments.
type program struct {
	tb   testing.TB
	name string
	path string
	env  []string
	cmd  *exec.Cmd
	back time.Time
}

func (p *program) start() {
	p.tb.Helper()
	p.cmd = exec.Command(p.path)
	p.cmd.Env = p.env
	if _, err := p.cmd.StdinPipe(); err != nil {
		p.tb.Fatalf("%s: %v", p.name, err)
	}
	if err := p.cmd.Start(); err != nil {
		p.tb.Fatalf("%s: %v", p.name, err)
	}
}

// kill sends SIGKILL and waits for the end.
func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
	p.cmd = nil
}

func natsProgram(tb testing.TB, port int, store, sync string) *program {
	p := &program{tb: tb, name: "nats-server", path: os.Args[0], env: []string{natsRole + "=" + fmt.Sprint(port, " ", store, " ", sync)}}
	tb.Cleanup(p.kill)
	return p
}

func connect(tb testing.TB, port int) *nats.Conn {
	tb.Helper()
	var nc *nats.Conn
	err := poll(tb.Context(), 20*time.Second, func() (err error) {
		nc, err = nats.Connect("nats://127.0.0.1:"+strconv.Itoa(port), nats.UserInfo("ops", "ops-dev"), nats.MaxReconnects(-1),
			nats.ReconnectWait(10*time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

func freePorts(tb testing.TB, n int) (ports []int) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// build makes the real programs.
func build(tb testing.TB, names ...string) (dir string) {
	tb.Helper()
	dir = tb.TempDir()
	for _, name := range names {
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "entitled/cmd/"+name).CombinedOutput()
		if err != nil {
			tb.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// The real programs and the real nats.conf, each a process of its own, are killed with SIGKILL in the middle of their work,
// again and again. Nothing that was answered 2xx is lost, and in the end every snapshot is right.
func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills processes")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*kills)*2*time.Second+3*time.Minute)
	defer cancel()
	dir := build(t, "ingest", "syncer")
	ports := freePorts(t, 3)

	s := &stage{
		// A killed server forgets what it had not written yet of STRIPE_SYNC: that is lossy.
		cfg:    Config{Lossy: true, Seed: *seed, Customers: 150, Patience: 2 * time.Second, Log: silent()},
		report: Report{Seed: *seed}, said: newSaid(), fate: dice(*seed, 1), poisoned: map[string]bool{},
		policy: syncer.Policy{PastDueGrace: 72 * time.Hour},
	}
	defer s.close()
	var err error
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

	nats := natsProgram(t, ports[0], filepath.Join(t.TempDir(), "nats"), "shipped")
	nats.start()
	s.nc = connect(t, ports[0])
	if s.js, err = jetstream.New(s.nc); err != nil {
		t.Fatal(err)
	}
	programs := []*program{nats}
	url := "NATS_URL=nats://127.0.0.1:" + strconv.Itoa(ports[0])
	for i := range 2 {
		programs = append(programs,
			&program{tb: t, name: "ingest", path: filepath.Join(dir, "ingest"), env: []string{
				url, "NATS_USER=ingest", "NATS_PASSWORD=ingest-dev", "STRIPE_WEBHOOK_SECRETS=" + secret, "PUBLISH_TIMEOUT=1s",
				"LISTEN_ADDR=127.0.0.1:" + strconv.Itoa(ports[1+i]), "ADMIN_ADDR=127.0.0.1:0",
			}},
			&program{tb: t, name: "syncer", path: filepath.Join(dir, "syncer"), env: []string{
				url, "NATS_USER=syncer", "NATS_PASSWORD=syncer-dev", "STRIPE_API_KEY=" + simulatedKey, "STRIPE_API_BASE=" + api.url,
				"STRIPE_RATE=" + strconv.Itoa(rate), "ADMIN_ADDR=127.0.0.1:0",
			}})
	}
	for _, p := range programs[1:] {
		p.start()
		t.Cleanup(p.kill)
	}
	s.syncer = syncer.Config{
		Stripe: stripeConfig(api.url, false), Rate: rate, Policy: s.policy, Marks: s.marks, CoverageEvery: 5 * time.Minute, Log: silent(),
	}
	if err := poll(ctx, 30*time.Second, func() error {
		_, err := s.js.KeyValue(ctx, entitlement.Bucket(mode))
		return errors.Join(err, topology.Ensure(ctx, s.js, topology.All(topology.Options{})))
	}); err != nil {
		t.Fatalf("the programs make no topology: %v", err)
	}
	s.mend = func(now time.Time) error {
		for _, p := range programs {
			if p.cmd == nil && now.After(p.back) {
				p.start()
			}
		}
		return nil
	}
	s.door = newDoor(func(pick int) string {
		return "http://127.0.0.1:" + strconv.Itoa(ports[1+pick%2]) + "/webhooks/stripe"
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
	s.sim.SetFaults(stripesim.Faults{Latency: stripesim.Range{Max: 60 * time.Millisecond}, WebhookDelay: stripesim.Range{Max: 100 * time.Millisecond}, Error500: 0.02})
	killed := map[string]int{}
	// As in a storm, time is counted in what was drawn.
	drawn, next := time.Duration(0), 300*time.Millisecond
	for n := 0; n < *kills && ctx.Err() == nil; {
		s.life.step()
		s.report.Steps++
		pause := s.span(2, 20)
		drawn += pause
		s.breathe(ctx, pause)
		if drawn < next {
			continue
		}
		next = drawn + s.span(40, 200)
		p, back := programs[s.fate.IntN(len(programs))], s.span(10, 200)
		if p.cmd != nil {
			p.kill()
			p.back = time.Now().Add(back)
			killed[p.name]++
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

func joined(types []string) (list string) {
	for i, typ := range types {
		if i > 0 {
			list += ","
		}
		list += typ
	}
	return list
}
