package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/daemon/daemontest"
	"entitled/internal/natsproc"
	"entitled/internal/natstest"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A proxy is where Stripe sends webhooks. It passes them on to the process that runs now, and waits
// while there is none: Stripe would give up within seconds of its simulated time.
type proxy struct {
	*httptest.Server
	mu sync.Mutex
	to *url.URL
	up chan struct{} // closed while there is a process
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{up: make(chan struct{})}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			p.mu.Lock()
			defer p.mu.Unlock()
			r.SetURL(p.to)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		up := p.up
		p.mu.Unlock()
		select {
		case <-up:
			pass.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) pointTo(t *testing.T, addr any) {
	t.Helper()
	u, err := url.Parse(fmt.Sprintf("http://%v", addr))
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = u
	close(p.up)
}

// down says that the process is gone.
func (p *proxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = make(chan struct{})
}

// A serving is a directory of `entitled serve`, with a simulated Stripe.
type serving struct {
	dir   string
	sim   *stripesim.Sim
	env   map[string]string
	front *proxy
	tool  map[string]string // the environment of the tool as the user ops
}

func newServing(t *testing.T) *serving {
	t.Helper()
	sim := stripesim.New(stripesim.Config{Seed: 1, RetryFactor: 8000})
	t.Cleanup(sim.Close)
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	s := &serving{dir: filepath.Join(t.TempDir(), "data"), sim: sim, front: newProxy(t)}
	w := sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: s.front.URL + "/webhooks/stripe"})
	s.env = map[string]string{
		"STRIPE_API_KEY": "sk_test_x", "STRIPE_API_BASE": api.URL, "STRIPE_RATE": "500",
		"COVERAGE_EVERY":         "1s", // a killed nats-server may lose markers
		"STRIPE_WEBHOOK_SECRETS": w.Secrets[0], "LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0",
		"NATS_ADDR": "127.0.0.1:0", "CONSOLE_ADDR": "127.0.0.1:0",
	}
	return s
}

// password is that of a NATS user.
func (s *serving) password(t *testing.T, user string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "nats-passwords.conf"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(strings.ToUpper(user) + `_PASSWORD: "(\w+)"`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no password of %s", user)
	}
	return string(m[1])
}

// reach sets the address of NATS, and returns a connection as ops.
func (s *serving) reach(t *testing.T, natsURL string) jetstream.JetStream {
	t.Helper()
	password := s.password(t, "ops")
	s.tool = map[string]string{"NATS_URL": natsURL, "NATS_USER": "ops", "NATS_PASSWORD": password,
		"STRIPE_API_KEY": s.env["STRIPE_API_KEY"], "STRIPE_API_BASE": s.env["STRIPE_API_BASE"], "STRIPE_RATE": "500"}
	nc, err := nats.Connect(natsURL, nats.UserInfo("ops", password), nats.CustomInboxPrefix("_INBOX_ops"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func isReady(t *testing.T, admin any) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		res, err := http.Get(fmt.Sprintf("http://%v/readyz", admin))
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", body)
		}
		return nil
	})
}

// start starts the program, and returns it when it is ready.
func (s *serving) start(t *testing.T) (*daemontest.Program, jetstream.JetStream) {
	t.Helper()
	p := daemontest.Start(t, s.env, "serve", "--data", s.dir)
	s.front.pointTo(t, p.Logged("public listener is open")["addr"])
	isReady(t, p.Logged("admin listener is open")["addr"])
	return p, s.reach(t, fmt.Sprint(p.Logged("connected to NATS")["url"]))
}

// subscribe creates customers with a subscription, whose webhooks are sent at once.
func (s *serving) subscribe(t *testing.T, n int) {
	t.Helper()
	for range n {
		if _, err := s.sim.Checkout(stripesim.CheckoutParams{Price: "price_pro_monthly"}); err != nil {
			t.Fatal(err)
		}
	}
}

// acknowledged are the ids of the events whose webhooks were answered 200.
func (s *serving) acknowledged() map[string]bool {
	ids := map[string]bool{}
	for _, a := range s.sim.Attempts() {
		if a.Status == http.StatusOK {
			ids[a.Event] = true
		}
	}
	return ids
}

// whole waits until nothing is pending, and compares: every acknowledged event is in the log, and every
// snapshot is what Stripe has.
func (s *serving) whole(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.sim.Quiet(ctx); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		markers, err := js.Stream(ctx, topology.SyncStream)
		if err != nil {
			return err
		}
		info, err := markers.Info(ctx, jetstream.WithSubjectFilter("stripe.sync.test.>"))
		if err == nil && len(info.State.Subjects) > 0 {
			err = fmt.Errorf("%d markers are pending", len(info.State.Subjects))
		}
		return err
	})
	var customers []string
	for _, c := range s.sim.Customers() {
		customers = append(customers, c.ID)
	}
	cfg := stripeapi.Config{Key: s.env["STRIPE_API_KEY"], Base: s.env["STRIPE_API_BASE"]}
	natstest.Eventually(t, patience, func() error {
		_, err := differs(ctx, js, cfg, customers)
		return err
	})
	lost := s.acknowledged()
	if len(lost) == 0 {
		t.Error("no webhook was acknowledged")
	}
	for m, err := range streams.Messages(ctx, js, streams.Reading{Stream: topology.EventsStream}) {
		var event struct{ ID string }
		if err := errors.Join(err, json.Unmarshal(m.Data, &event)); err != nil {
			t.Fatal(err)
		}
		delete(lost, event.ID)
	}
	if len(lost) > 0 {
		some := slices.Sorted(maps.Keys(lost))
		t.Errorf("%d acknowledged events are lost: %q …", len(some), some[:min(3, len(some))])
	}
	code, out, errs := entitled(t, s.tool, "sweep", "--json")
	var r sweep.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("sweep: exit code %d, %s%s: %v", code, out, errs, err)
	}
	if want := len(s.sim.Customers()); r.Customers != want || r.Unchanged != want {
		t.Errorf("sweep: %+v, want all %d customers as Stripe has them", r, want)
	}
}

// The process is killed while webhooks come, again and again: nothing acknowledged is lost, no file of
// the directory changes, and in the end every snapshot is what Stripe has. A backup of it fills a
// cluster. Then nats-server and the daemons go on in the same directory.
func TestServeKilledAndOutgrown(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("its parts are tested with the race detector where they are")
	}
	s := newServing(t)
	p, _ := s.start(t)
	conf, err := os.ReadFile(filepath.Join(s.dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := len(s.acknowledged())
		s.subscribe(t, 20)
		natstest.Eventually(t, patience, func() error {
			if n := len(s.acknowledged()); n < before+10 {
				return fmt.Errorf("%d webhooks are acknowledged, want %d", n, before+10)
			}
			return nil
		})
		s.front.down()
		p.Signal(syscall.SIGKILL)
		if code := p.Wait(); code != -1 {
			t.Fatalf("exit code %d of a killed process", code)
		}
		s.subscribe(t, 2) // nobody takes their webhooks
		p, _ = s.start(t)
	}
	js := s.reach(t, s.tool["NATS_URL"])
	s.whole(t, js)
	if again, err := os.ReadFile(filepath.Join(s.dir, "nats.conf")); err != nil || string(again) != string(conf) {
		t.Errorf("nats.conf has changed: %v", err)
	}
	t.Run("backup", func(t *testing.T) { s.intoCluster(t) })
	s.front.down()
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	t.Run("outgrown", func(t *testing.T) { s.outgrown(t) })
}

// intoCluster restores a backup of the running process into three servers.
func (s *serving) intoCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "backup")
	if code, out, errs := entitled(t, s.tool, "backup", dir); code != 0 {
		t.Fatalf("backup: exit code %d, %s%s", code, out, errs)
	}
	cluster := natstest.Cluster(t, 3)
	env := map[string]string{"NATS_URL": cluster.URL(), "REPLICAS": "3"}
	if code, out, errs := entitled(t, env, "restore", dir); code != 0 {
		t.Fatalf("restore: exit code %d, %s%s", code, out, errs)
	}
	kv, err := cluster.JetStream(t).KeyValue(t.Context(), "entitlements_test")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if want := len(s.sim.Customers()); err != nil || len(keys) != want {
		t.Errorf("%d customers in the cluster, %v; want %d", len(keys), err, want)
	}
}

// outgrown runs the daemons, and nats-server with the nats.conf of the directory.
func (s *serving) outgrown(t *testing.T) {
	srv, err := natsproc.Start(t.Context(), natsproc.Config{
		Servers: 1, Dir: t.TempDir(), Conf: filepath.Join(s.dir, "nats.conf"), OwnStore: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	js := s.reach(t, srv.URL())
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "entitled/cmd/ingest", "entitled/cmd/syncer",
		"entitled/cmd/gateway")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ports, err := natsproc.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	public, asked := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	for program, env := range map[string][]string{
		"ingest": {"LISTEN_ADDR=" + public, "STRIPE_WEBHOOK_SECRETS=" + s.env["STRIPE_WEBHOOK_SECRETS"]},
		"syncer": {"STRIPE_API_KEY=sk_test_x", "STRIPE_API_BASE=" + s.env["STRIPE_API_BASE"], "STRIPE_RATE=500",
			"COVERAGE_EVERY=1s"},
		"gateway": {"LISTEN_ADDR=" + asked, "MODE=test", "GATEWAY_KEYS=file:" + filepath.Join(s.dir, "gateway-keys")},
	} {
		cmd := exec.Command(filepath.Join(bin, program))
		cmd.Env = append(env, "ADMIN_ADDR=127.0.0.1:0", "NATS_URL="+srv.URL(), "NATS_USER="+program,
			"NATS_PASSWORD="+s.password(t, program))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		})
	}
	s.front.pointTo(t, public)
	s.subscribe(t, 5)
	s.whole(t, js)
	c, err := s.sim.Checkout(stripesim.CheckoutParams{Price: "price_pro_monthly"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(s.dir, "gateway-keys"))
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		text, err := askFor(t, "http://"+asked+"/v1/customers/"+c.Customer, strings.TrimSpace(string(key)), "")
		if err == nil && !strings.Contains(text, `"allowed":true`) {
			err = errors.New(text)
		}
		return err
	})
}

// askFor asks the gateway with a server key.
func askFor(t *testing.T, url, key, body string) (string, error) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, text)
	}
	return string(text), err
}
