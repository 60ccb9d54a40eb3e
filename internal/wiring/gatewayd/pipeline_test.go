package gatewayd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/checkout"
	"entitled/internal/daemon"
	"entitled/internal/daemon/daemontest"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

const (
	soon   = 5 * time.Minute
	origin = "https://app.example"
)

func TestMain(m *testing.M) {
	if daemontest.IsProgram() {
		main()
		return
	}
	natstest.Main(m)
}

// main is the program gateway, except that it asks Stripe as fast as it can.
func main() {
	os.Exit(daemon.Main("gateway", func(ctx context.Context, p daemon.Process) error {
		var s struct {
			Gateway Settings            `embed:""`
			Base    string              `name:"stripe-api-base" env:"STRIPE_API_BASE"`
			NATS    daemon.NATSSettings `embed:""`
		}
		c, err := p.Parse("", &s)
		if err != nil {
			return err
		}
		s.Gateway.StripeBase = s.Base
		g, n := s.Gateway.Check(c, "test"), s.NATS.Check(c)
		if err := c.Err(); err != nil {
			return err
		}
		g.config.Checkout = checkout.New(checkout.Config{Mode: entitlement.Test, Key: s.Gateway.WriteKey, Base: s.Base,
			Origins: g.config.Origins, Rate: 1e6})
		public, err := daemon.Listen("LISTEN_ADDR", "127.0.0.1:0")
		if err != nil {
			return err
		}
		p.Log.Info("gateway listener is open", "addr", public.Addr().String())
		process := wiring.Process{NATS: n, Admin: "127.0.0.1:0", WithoutNATS: true}
		return process.Run(ctx, p, func(ctx context.Context, h wiring.Host) error { return g.Run(ctx, h, public) })
	}))
}

// A pipeline is NATS with the shipped nats.conf, ingest and syncer, and a simulated Stripe. The plans
// document says that ids are in user_id.
type pipeline struct {
	t   *testing.T
	srv *natstest.Server
	sim *stripesim.Sim
}

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	shipped, err := server.ProcessConfigFile("../../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline{t: t, sim: stripesim.New(stripesim.Config{Seed: 1}),
		srv: natstest.Run(t, func(o *server.Options) { *o = *shipped.Clone() })}
	t.Cleanup(p.sim.Close)
	api := httptest.NewServer(p.sim)
	t.Cleanup(api.Close)
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := p.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: "http://" + door.Addr().String() + ingest.Path})
	c := daemon.Checker{Program: "test"}
	in := ingestd.Settings{MaxBody: "1 MiB", MaxBodies: "64 MiB", Tolerance: "5m", PublishTimeout: "15s"}.Check(&c)
	sy := syncerd.Settings{Base: api.URL, Rate: "1000", CoverageEvery: "5m"}.Check(&c, "rk_test_x")
	shared := wiring.SharedSettings{TopologySettings: wiring.TopologySettings{Replicas: "1",
		EventsMaxAge: "30d"}}.Check(&c)
	in.Secrets, in.Shared, sy.Shared = endpoint.Secrets, shared, shared
	if err := errors.Join(c.Err(), p.sim.DemoCatalog()); err != nil {
		t.Fatal(err)
	}
	ready := daemon.NewReadiness(slog.New(slog.DiscardHandler), "ingest "+wiring.ReadyTopology,
		"syncer "+wiring.ReadyTopology)
	host := func(name string) wiring.Host {
		return wiring.Host{NATS: p.conn(name), Metrics: prometheus.NewRegistry(),
			Ready: func(condition string, err error) { ready.Set(name+" "+condition, err) },
			Log:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	}
	ingestHost, syncerHost := host("ingest"), host("syncer")
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, run := range []func() error{
		func() error { return in.Run(ctx, ingestHost, door) },
		func() error { return sy.Run(ctx, syncerHost) },
	} {
		running.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { stop(); running.Wait() })
	waiting, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	if err := ready.Wait(waiting); err != nil {
		t.Fatal(err)
	}
	p.apply(`{"ids":{"metadata":"user_id"},
		"plans":{"pro":{"match":[{"lookup_key":"pro_monthly"}],"features":["export"]}}}`)
	return p
}

func (p *pipeline) conn(user string) *nats.Conn {
	p.t.Helper()
	return p.srv.Conn(p.t, nats.UserInfo(user, user+"-dev"), nats.CustomInboxPrefix("_INBOX_"+user))
}

func (p *pipeline) apply(text string) {
	p.t.Helper()
	js, err := jetstream.New(p.conn("ops"))
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := applied.Open(p.t.Context(), js, entitlement.Test)
	if err != nil {
		p.t.Fatal(err)
	}
	d, _, err := plans.Parse([]byte(text))
	if err != nil {
		p.t.Fatal(err)
	}
	d.Number = 1
	if err := b.Apply(p.t.Context(), d, applied.InForce{}, "amelia", ""); err != nil {
		p.t.Fatal(err)
	}
}

// living returns the customers at Stripe that have an id, without the deleted ones.
func (p *pipeline) living(id string) (ids []string) {
	for _, c := range p.sim.Customers() {
		truth, _ := p.sim.Truth(c.ID)
		if !c.Deleted && truth.Customer.Metadata["user_id"] == id {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// A program is a gateway's process.
type program struct {
	*daemontest.Program
	url string
}

// gateway starts one that asks Stripe at base, and waits until it answers.
func (p *pipeline) gateway(base string) *program {
	p.t.Helper()
	run := daemontest.Start(p.t, map[string]string{
		"NATS_URL": p.srv.URL(), "NATS_USER": "gateway", "NATS_PASSWORD": "gateway-dev", "GATEWAY_KEYS": long,
		"GATEWAY_ORIGINS": origin, "STRIPE_WRITE_KEY": "rk_test_write", "STRIPE_API_BASE": base,
	})
	g := &program{run, fmt.Sprintf("http://%v", run.Logged("gateway listener is open")["addr"])}
	natstest.Eventually(p.t, soon, func() error {
		// That there is no such customer is known once the plans document is.
		status, body, err := p.ask(g.url, "POST", "/v1/customers/id:nobody/portal", `{"return_url":"`+origin+`"}`)
		if err != nil || status != http.StatusNotFound {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	return g
}

func (p *pipeline) ask(url, method, path, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(p.t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+long)
	return do(req)
}
