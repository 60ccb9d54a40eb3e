package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/dev"
	"entitled/internal/ingest"
	"entitled/internal/wiring"
	"entitled/stripesim"
)

// A listener is subscribed to all that its NATS user may subscribe to, and keeps which of the
// subscriptions hear something.
type listener struct {
	nc *nats.Conn
	mu sync.Mutex
	of []string
}

func (l *listener) subjects() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.of...)
}

func (g guarded) listen(t *testing.T, user string) *listener {
	t.Helper()
	conf, err := server.ProcessConfigFile(g.file("nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	env, l := g.env(user), &listener{}
	l.nc, err = nats.Connect(env["NATS_URL"], nats.UserInfo(user, env["NATS_PASSWORD"]), nats.RootCAs(env["NATS_CA"]),
		nats.ClientCert(env["NATS_CERT"], env["NATS_KEY"]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.nc.Close)
	for _, u := range conf.Users {
		if u.Username != user {
			continue
		}
		for _, subject := range u.Permissions.Subscribe.Allow {
			if _, err := l.nc.Subscribe(subject, func(m *nats.Msg) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.of = append(l.of, m.Sub.Subject)
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return l
}

// While everything runs, no user hears what is for another: of ENTITLED's, a user hears its own
// inbox, and a syncer the requests to syncers. With a shared inbox ingest would read the bodies of
// webhooks that the operator's tool reads.
func TestNobodyOverhears(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g := newGuarded(t)
	listeners := map[string]*listener{}
	for _, user := range []string{"ingest", "syncer", "app"} {
		listeners[user] = g.listen(t, user)
	}
	open := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	door := open()
	sim := dev.StartSimulation(dev.SimulationConfig{Seed: 1, Listen: open()})
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
	out := g.daemon(t, "syncer", map[string]string{"STRIPE_API_BASE": sim.URL},
		func(s programSettings, c *daemon.Checker) func(context.Context, wiring.Host) error {
			y := s.Syncer.Check(c, dev.SimulatedKey)
			y.Shared = s.Shared.Check(c)
			return y.Run
		})
	if err := errors.Join(in.Wait(ctx), out.Wait(ctx)); err != nil {
		t.Fatal(err)
	}
	// An app that is not the user app, so that app must hear nothing at all.
	env := g.env("gateway")
	nc, err := nats.Connect(env["NATS_URL"], nats.UserInfo("gateway", env["NATS_PASSWORD"]),
		nats.CustomInboxPrefix("_INBOX_gateway"),
		nats.RootCAs(env["NATS_CA"]), nats.ClientCert(env["NATS_CERT"], env["NATS_KEY"]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client, err := entitlement.Open(ctx, nc, entitlement.Test, &entitlement.Options{WaitForBucket: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // returns nil
	if _, err := sim.Checkout(stripesim.CheckoutParams{Customer: "cus_Heard", Price: "price_pro_monthly"}); err != nil {
		t.Fatal(err)
	}
	if s, err := client.Sync(ctx, "cus_Heard"); err != nil || s.Customer != "cus_Heard" {
		t.Fatalf("sync: %+v, %v", s, err)
	}
	for _, line := range [][]string{{"events", "--json"}, {"get", "cus_Heard"}, {"explain", "cus_Heard"},
		{"sync", "cus_Heard"}, {"topology"}} {
		if code, _, errs := entitled(t, g.env("ops"), line...); code != 0 {
			t.Errorf("entitled %s: exit code %d: %s", strings.Join(line, " "), code, errs)
		}
	}

	own := map[string][]string{
		"ingest": {"_INBOX_ingest."},
		"syncer": {"_INBOX_syncer.", "entitled.sync.", "$SRV."},
		"app":    nil,
	}
	for user, l := range listeners {
		if err := l.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		heard := l.subjects()
		if (len(heard) > 0) != (user != "app") {
			t.Errorf("%s hears %d messages", user, len(heard))
		}
		for _, subject := range heard {
			mine := false
			for _, prefix := range own[user] {
				mine = mine || strings.HasPrefix(subject, prefix)
			}
			if !mine {
				t.Errorf("%s hears %s", user, subject)
			}
		}
	}
}
