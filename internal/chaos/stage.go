package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/ingest"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// connected are the connected accounts; "" is the platform's own.
var accounts = []string{"", "", "acct_EU", "acct_US"}

const (
	secret = "whsec_chaos"
	// inbox is the prefix on which user ops may receive answers with nats.conf.
	inbox = "_INBOX_ops"
	// rate is the fleet's budget in requests/s, so large that no run waits for it.
	rate = 1000
)

// A stage is everything that a run consists of.
type stage struct {
	cfg    Config
	report Report
	// cluster is cfg.Server if that has several servers, or nil. outage reports that some of them
	// are down.
	cluster Cluster
	outage  atomic.Bool

	sim    *stripesim.Sim
	said   *said
	door   *door
	fleet  *fleet
	marks  stripeevent.Types
	syncer syncer.Config // without a connection
	// mend starts the daemons that are down and due.
	mend func(now time.Time) error
	// coverage runs during the storms too in half of the seeds. It may repair what would show a
	// fault without it.
	coverage bool
	// hurry starts the jobs again, too, that are pending when the patience is over: that of a killed
	// syncer waits for 10 s.
	hurry bool

	nc     *nats.Conn // the oracle's own; nothing happens to it but the server's restarts
	js     jetstream.JetStream
	client *entitlement.Client

	served []*served
	life   *life
	fate   *rand.Rand

	// paper draws the plans documents, drafts are those drawn. inForce is the document in force since
	// the faults ended, draft its draft, nil if none was applied.
	paper   *rand.Rand
	drafts  []draft
	inForce applied.InForce
	draft   *draft

	// The ends of the two logs, and Stripe's time, at the beginning of the lap.
	eventsFrom, syncedFrom uint64
	lapBegan               time.Time
	// calmSince is when the faults of the lap ended.
	calmSince time.Time
	poisoned  map[string]bool // customers Stripe refused at some time

	// desks waits for operators' commands, which run one at a time.
	desks sync.WaitGroup
	busy  atomic.Bool
	bulks int // in this lap
}

// served is an HTTP server on loopback.
type served struct {
	srv  *http.Server
	url  string
	done chan error
}

func serve(h http.Handler) (*served, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &served{
		srv: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}, url: "http://" + l.Addr().String(),
		done: make(chan error, 1),
	}
	go func() { s.done <- s.srv.Serve(l) }() // close waits for it
	return s, nil
}

func (s *served) close() {
	_ = s.srv.Close() // no caller is left to see the error
	<-s.done
}

func newStage(ctx context.Context, cfg Config) (s *stage, err error) {
	s = &stage{
		cfg: cfg, report: Report{Seed: cfg.Seed}, said: newSaid(), fate: dice(cfg.Seed, 1),
		paper: dice(cfg.Seed, 3), poisoned: map[string]bool{},
		coverage: cfg.Seed%2 == 1,
	}
	s.cluster, _ = cfg.Server.(Cluster)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.marks, err = stripeevent.ParseTypes(strings.Join(stripeevent.DefaultTypes(), ",")); err != nil {
		return s, err
	}
	s.sim = stripesim.New(stripesim.Config{
		Seed: cfg.Seed, Start: time.Now().Add(-400 * 24 * time.Hour), LogSize: 300_000,
		InlineItems: 2, // so that a third item is on another page
		// Minutes become fractions of a millisecond: a webhook is given up within two seconds.
		RetryFactor: 8000, DeliveryTimeout: 5 * time.Second, DeliveryConcurrency: 64,
	})
	api, err := serve(s.said.overhear(s.sim))
	if err != nil {
		return s, err
	}
	s.served = append(s.served, api)

	if err := s.connect(); err != nil {
		return s, err
	}
	options, err := s.options(ctx)
	if err != nil {
		return s, err
	}
	every := 24 * time.Hour
	if s.coverage {
		every = 4 * time.Second
	}
	s.syncer = syncer.Config{
		Stripe: stripeConfig(api.url), Rate: rate, Marks: s.marks, CoverageEvery: every,
		Log: s.cfg.Log, Topology: options, Timing: cfg.Timing,
	}
	s.fleet, err = newFleet(cfg,
		ingest.Config{Secrets: []string{"whsec_old", secret}, PublishTimeout: publishTimeout, Types: s.marks,
			Log: s.cfg.Log}, s.syncer)
	if err != nil {
		return s, err
	}
	s.mend = s.fleet.mend
	s.door = newDoor(s.fleet.where, s.said, s.marks, s.digestOf)
	front, err := serve(s.door)
	if err != nil {
		return s, err
	}
	s.served = append(s.served, front)
	for _, connect := range []bool{false, true} {
		s.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: front.url, Secrets: []string{secret}, Connect: connect})
	}
	if s.client, err = entitlement.Open(ctx, s.nc, mode, &entitlement.Options{CheckEvery: time.Second}); err != nil {
		return s, err
	}
	if s.life, err = newLife(s, dice(cfg.Seed, 2)); err != nil {
		return s, err
	}
	return s, nil
}

// connect opens the oracle's connection.
func (s *stage) connect() (err error) {
	if s.nc, err = nats.Connect(s.cfg.Server.URL(), nats.Name("oracle"), nats.CustomInboxPrefix(inbox),
		nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.nc)
	return err
}

// options returns the topology's options. It creates the topology as an operator does, since no
// program creates the first stream of a cluster.
func (s *stage) options(ctx context.Context) (topology.Options, error) {
	var o topology.Options
	if s.cluster != nil {
		o.Replicas = s.cluster.Size()
	}
	// A new cluster elects its leaders first.
	err := poll(ctx, 3*restWithin, func() error {
		_, err := topology.Apply(ctx, s.js, topology.All(o), topology.ApplyOptions{})
		return err
	})
	return o, err
}

// close ends everything that newStage began, in a safe order.
func (s *stage) close() {
	s.desks.Wait()
	if s.sim != nil {
		s.sim.Close()
	}
	if s.fleet != nil {
		s.fleet.close()
	}
	for _, x := range s.served {
		x.close()
	}
	if s.client != nil {
		_ = s.client.Close() // its connection goes next
	}
	if s.nc != nil {
		s.nc.Close()
	}
}

func (s *stage) account(id string) *stripesim.Account {
	if id == "" {
		return s.sim.Account
	}
	return s.sim.Connect(id)
}

func (s *stage) beginLap(ctx context.Context) error {
	if s.report.Laps > 0 {
		// Before the first lap a sync may be in progress, whose request the oracle would look for.
		s.sim.ResetLog()
	}
	s.lapBegan, s.bulks = s.sim.Now(), 0
	var err error
	if s.eventsFrom, err = s.end(ctx, topology.EventsStream); err != nil {
		return err
	}
	s.syncedFrom, err = s.end(ctx, topology.SyncedStream)
	return err
}

// end returns the sequence after the last one of a stream.
func (s *stage) end(ctx context.Context, stream string) (uint64, error) {
	st, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", stream, err)
	}
	info, err := st.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", stream, err)
	}
	return info.State.LastSeq + 1, nil
}

// sum returns the report with the counts of all parts.
func (s *stage) sum() Report {
	r := s.report
	r.Customers = len(s.life.people)
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	r.Webhooks, r.Accepted = s.door.webhooks, len(s.door.accepted)
	return r
}

// poll calls ask every 20 ms until it returns nil, or the deadline passes; then it returns the last
// error.
func poll(ctx context.Context, within time.Duration, ask func() error) error {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %w", within, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
