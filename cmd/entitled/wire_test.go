package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/dev"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

// A guarded is the nats.conf that is shipped on a server that asks for certificates, and the files
// of both sides.
type guarded struct {
	dir string
	srv *natstest.Server
}

func newGuarded(t *testing.T) guarded {
	t.Helper()
	g := guarded{dir: t.TempDir()}
	g.renew(t)
	for from, to := range map[string]string{"nats.conf": "shipped.conf", "nats-passwords.conf": "nats-passwords.conf"} {
		text, err := os.ReadFile(filepath.Join("../..", from))
		if err = errors.Join(err, os.WriteFile(g.file(to), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf(`
include ./shipped.conf
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
jetstream { store_dir: %q }
tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }
`, g.file("store"), g.file("server.pem"), g.file("server.key"), g.file("ca.pem"))
	if err := os.WriteFile(g.file("nats.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	g.srv = natstest.RunFile(t, g.file("nats.conf"))
	return g
}

func (g guarded) file(name string) string { return filepath.Join(g.dir, name) }

// renew makes a new CA and new certificates in place of the old ones.
func (g guarded) renew(t *testing.T) {
	t.Helper()
	ca := natstest.NewCA(t, g.dir)
	ca.Issue(g.dir, "server")
	ca.Issue(g.dir, "client")
}

// env is the environment of a program that is a user of NATS.
func (g guarded) env(user string) map[string]string {
	return map[string]string{
		"NATS_URL": g.srv.URL(), "NATS_USER": user, "NATS_PASSWORD": user + "-dev",
		"NATS_CA": g.file("ca.pem"), "NATS_CERT": g.file("client.pem"), "NATS_KEY": g.file("client.key"),
	}
}

// programSettings are those of both daemons.
type programSettings struct {
	NATS   daemon.NATSSettings   `embed:""`
	Ingest ingestd.Settings      `embed:""`
	Syncer syncerd.Settings      `embed:""`
	Shared wiring.SharedSettings `embed:""`
}

// daemon runs one as its own program does, with settings from the environment, until the test ends.
func (g guarded) daemon(t *testing.T, name string, more map[string]string,
	prepare func(programSettings, *daemon.Checker) func(context.Context, wiring.Host) error,
) *daemon.Readiness {
	t.Helper()
	env := g.env(name)
	maps.Copy(env, more)
	p, _, _ := process(env)
	p.Name = name
	var settings programSettings
	check, err := p.Parse("", &settings)
	if err != nil {
		t.Fatal(err)
	}
	run := prepare(settings, check)
	svc := daemon.Service{
		Name: name, NATS: settings.NATS.Check(check), AdminAddr: "127.0.0.1:0", Log: p.Log,
		Ready: daemon.NewReadiness(p.Log, wiring.ReadyTopology), Metrics: daemon.NewRegistry(),
	}
	if err := check.Err(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { // received from in the cleanup
		ended <- svc.Run(ctx, func(ctx context.Context, nc *nats.Conn) error {
			return run(ctx, wiring.Host{NATS: nc, Ready: svc.Ready.Set, Metrics: svc.Metrics, Log: svc.Log})
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return svc.Ready
}

// Ingest, syncer, an app's client and the tool work with a server that asks for certificates, also
// after both sides got new ones from a new CA and the server was reloaded: nothing of ours is
// started again.
func TestEverythingOverTLS(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g := newGuarded(t)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	door, api := listen(), listen()
	sim := dev.StartSimulation(dev.SimulationConfig{Seed: 1, Listen: api})
	t.Cleanup(func() {
		if err := sim.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	secret := sim.Deliver("http://"+door.Addr().String()+ingest.Path, "")

	in := g.daemon(t, "ingest", nil, func(s programSettings, c *daemon.Checker) func(context.Context,
		wiring.Host) error {
		i := s.Ingest.Check(c)
		i.Secrets, i.Shared = []string{secret}, s.Shared.Check(c)
		return func(ctx context.Context, h wiring.Host) error { return i.Run(ctx, h, door) }
	})
	stripe := map[string]string{"STRIPE_API_BASE": sim.URL}
	out := g.daemon(t, "syncer", stripe, func(s programSettings, c *daemon.Checker) func(context.Context,
		wiring.Host) error {
		y := s.Syncer.Check(c, dev.SimulatedKey)
		y.Shared = s.Shared.Check(c)
		return y.Run
	})
	if err := errors.Join(in.Wait(ctx), out.Wait(ctx)); err != nil {
		t.Fatal(err)
	}

	app := g.env("app")
	nc, err := nats.Connect(app["NATS_URL"], nats.UserInfo(app["NATS_USER"], app["NATS_PASSWORD"]),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.RootCAs(app["NATS_CA"]), nats.ClientCert(app["NATS_CERT"], app["NATS_KEY"]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client, err := entitlement.Open(ctx, nc, entitlement.Test,
		&entitlement.Options{WaitForBucket: true}) // for the syncer to make the copy for apps
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck

	// works has a customer buy, who then has access, and the tool shows it.
	works := func(customer string) {
		t.Helper()
		if _, err := sim.Checkout(stripesim.CheckoutParams{Customer: customer,
			Price: "price_pro_monthly"}); err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, patience, func() error {
			if s, known := client.Get(customer); !known || s.Status != "active" {
				return fmt.Errorf("%s: known %t, %s", customer, known, s.Status)
			}
			return nil
		})
		if code, out, errs := entitled(t, g.env("ops"), "get", customer); code != 0 ||
			!strings.Contains(out, "access, active") {
			t.Errorf("exit code %d: %s%s", code, out, errs)
		}
	}
	works("cus_Before")

	env := g.env("ops")
	delete(env, "NATS_CA")
	if code, _, errs := entitled(t, env, "get", "cus_Before"); code != 1 || !strings.Contains(errs, "NATS_CA") {
		t.Errorf("without the CA: exit code %d: %s", code, errs)
	}
	env = g.env("ops")
	delete(env, "NATS_CERT")
	delete(env, "NATS_KEY")
	if code, _, errs := entitled(t, env, "get", "cus_Before"); code != 1 || !strings.Contains(errs, "NATS_CERT") {
		t.Errorf("without a certificate: exit code %d: %s", code, errs)
	}

	g.renew(t)
	if err := g.srv.Reload(); err != nil {
		t.Fatal(err)
	}
	connected := g.srv.NumClients()
	conns, err := g.srv.Connz(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		if err := g.srv.DisconnectClientByID(c.Cid); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, patience, func() error {
		if n := g.srv.NumClients(); n != connected || !nc.IsConnected() {
			return fmt.Errorf("%d connections of %d", n, connected)
		}
		return errors.Join(in.Err(), out.Err())
	})
	works("cus_After")
}
