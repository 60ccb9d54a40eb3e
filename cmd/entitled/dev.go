package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/ingest"
	"entitled/internal/topology"
	"entitled/internal/wiring"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

type devCmd struct {
	For  time.Duration `placeholder:"10s" help:"End after this long, with a summary and a check. Default: at Ctrl-C."`
	JSON bool          `name:"json" help:"Print a line of JSON per change (key, revision, snapshot), and nothing else, on standard output."`
	Data string        `type:"path" placeholder:"DIR" help:"Keep the data there, synced to disk. Default: a temporary directory, thrown away at the end."`
	Pace time.Duration `default:"500ms" help:"Simulated Stripe: time between two things that happen to its customers."`

	Listen  string `name:"listen-addr" env:"LISTEN_ADDR" placeholder:"ADDR" help:"Where webhooks are taken. Default: 127.0.0.1:8080, or any port that is free."`
	Admin   string `name:"admin-addr" env:"ADMIN_ADDR" placeholder:"ADDR" help:"Where /healthz, /readyz and /metrics are. Default: 127.0.0.1:8081, or any port that is free."`
	NATS    string `name:"nats-addr" env:"NATS_ADDR" placeholder:"ADDR" help:"Where the embedded nats-server listens. Default: 127.0.0.1:4222, or any port that is free."`
	Sim     string `name:"sim-addr" env:"SIM_ADDR" placeholder:"ADDR" help:"Where the simulated Stripe listens. Default: 127.0.0.1:12111, or any port that is free."`
	Verbose bool   `short:"v" help:"Also print what the two daemons log, on standard error."`

	Key     string              `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" group:"stripe" help:"Restricted, read-only key of Stripe's API. It goes with the next."`
	Secrets string              `name:"stripe-webhook-secrets" env:"STRIPE_WEBHOOK_SECRETS" secret:"" placeholder:"WHSEC,…" group:"stripe" help:"Signing secrets of the webhook endpoints, separated by commas."`
	Syncer  syncerd.Settings    `embed:"" group:"daemons"`
	Ingest  ingestd.Settings    `embed:"" group:"daemons"`
	Marks   wiring.MarkSettings `embed:"" group:"daemons"`
}

// Help is shown below the usage.
func (devCmd) Help() string {
	return `Runs ingest and syncer on an embedded nats-server, and prints each change of a snapshot: who, what it was, what it is, how long after the webhook, and what it cost Stripe.

Without keys it also runs a simulated Stripe, in which a few customers live through weeks in seconds: checkout, trial, renewal, upgrade, failed payment, recovery, cancellation, deletion.

	entitled dev
	entitled dev --for 10s
	entitled dev --for 10s --json | jq -r '[.key, .snapshot.status] | @tsv'

With your own test account, in two terminals (FEATURES is entitlements with the simulated one):

	stripe listen --forward-to http://127.0.0.1:8080/webhooks/stripe
	STRIPE_API_KEY=rk_test_… STRIPE_WEBHOOK_SECRETS=whsec_… entitled dev`
}

// A plan is what dev's settings mean.
type plan struct {
	simulated bool
	ingest    ingestd.Ingest
	syncer    syncerd.Syncer
	tracing   daemon.Tracing
}

// simulatedRate is the budget with a simulated Stripe, in requests/s: it has no other users. simulatedFeatures has its features read.
const (
	simulatedRate     = "200"
	simulatedFeatures = "entitlements"
)

func (d devCmd) plan(s *session) (plan, error) {
	c := daemon.Checker{Program: s.Name + " dev"}
	simulated := d.Key == "" && d.Secrets == ""
	key, secrets, settings := d.Key, []string(nil), d.Syncer
	const both = "; with neither, dev simulates Stripe"
	switch {
	case simulated:
		key = simulatedKey
		settings.Base = "http://127.0.0.1" // the simulator's, once it listens
		settings.Features = simulatedFeatures
		if settings.Rate == "" {
			settings.Rate = simulatedRate
		}
	case d.Secrets == "":
		c.Problem("STRIPE_WEBHOOK_SECRETS", "missing, while STRIPE_API_KEY is set",
			"the signing secret that `stripe listen --print-secret` or your webhook endpoint's page shows, whsec_…"+both)
	case d.Key == "":
		c.Problem("STRIPE_API_KEY", "missing, while STRIPE_WEBHOOK_SECRETS is set", syncerd.KeyHint+both)
		key = simulatedKey // so that the rest is checked
	}
	if d.Secrets != "" {
		secrets = ingestd.Secrets(&c, d.Secrets)
	}
	p := plan{simulated: simulated, syncer: settings.Check(&c, key), ingest: d.Ingest.Check(&c), tracing: c.Tracing(s.Getenv, "entitled-dev")}
	for _, a := range []struct{ setting, addr string }{{"LISTEN_ADDR", d.Listen}, {"ADMIN_ADDR", d.Admin}, {"NATS_ADDR", d.NATS}, {"SIM_ADDR", d.Sim}} {
		if a.addr != "" {
			c.Addr(a.setting, a.addr)
		}
	}
	shared := wiring.Shared{Marks: d.Marks.Check(&c), Topology: topology.Options{}}
	p.ingest.Secrets, p.ingest.Shared, p.syncer.Shared = secrets, shared, shared
	return p, c.Err()
}

// Run does it all until ctx ends or the time is over.
func (d devCmd) Run(ctx context.Context, s *session) error {
	if err := notNegative("--for", d.For); err != nil {
		return err
	}
	if err := notNegative("--pace", d.Pace); err != nil {
		return err
	}
	p, err := d.plan(s)
	if err != nil {
		return err
	}
	dev := &dev{session: s, cmd: d, plan: p, began: s.now(), say: s.out}
	if d.JSON {
		dev.say = s.err
	}
	return errors.Join(dev.run(ctx), dev.close())
}

// dev is one run of the command. What it opened it closes in reverse order.
type dev struct {
	*session
	cmd   devCmd
	plan  plan
	began time.Time
	say   terminal // where everything but changes goes
	// open is set while the daemons' readiness is news: after the start and before the end.
	open atomic.Bool

	store    dataDir
	sim      *simulation // nil with an account of the user's own
	pipeline pipeline
	nc       *nats.Conn
	tally    tally
	closers  []func() error
	// over, if not nil, is told when to end, as when --for is over; tests end what they have seen enough of.
	over <-chan time.Time
	// atRest, if not nil, is called between the coming to rest and the check; tests change things then.
	atRest func()
}

func (d *dev) onClose(f func() error) { d.closers = append(d.closers, f) }

func (d *dev) close() error {
	d.open.Store(false)
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	return errors.Join(errs...)
}

// start opens everything and returns once the daemons are ready.
func (d *dev) start(ctx context.Context) error {
	var err error
	if d.store, err = openData(d.cmd.Data); err != nil {
		return err
	}
	d.onClose(d.store.close)
	if err := d.startNATS(); err != nil {
		return err
	}
	p := &d.pipeline
	if p.public, err = listenAt("LISTEN_ADDR", d.cmd.Listen, "127.0.0.1:8080"); err != nil {
		return err
	}
	d.onClose(func() error { p.public.Close(); return nil }) //nolint:errcheck // ingest closes it, unless something failed before
	if d.plan.simulated {
		if err := d.startSimulation(); err != nil {
			return err
		}
	}
	if p.admin, err = listenAt("ADMIN_ADDR", d.cmd.Admin, "127.0.0.1:8081"); err != nil {
		return err
	}
	d.onClose(func() error { p.admin.Close(); return nil }) //nolint:errcheck // the daemons close it, unless something failed before
	p.ingest, p.syncer, p.tracing = d.plan.ingest, d.plan.syncer, d.plan.tracing
	p.log, p.ready = d.daemonLogs()
	// The daemons outlive ctx: at its end they stop in their turn.
	daemons, stop := context.WithCancel(context.WithoutCancel(ctx))
	if err := p.start(daemons); err != nil {
		stop()
		return err
	}
	d.onClose(func() error { stop(); return <-p.running })
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	if d.nc, err = p.connect(); err != nil {
		return err
	}
	d.onClose(func() error { d.nc.Close(); return nil })
	return d.tally.begin(ctx, d.nc)
}

func (d *dev) startNATS() error {
	at, err := freeAddr("NATS_ADDR", d.cmd.NATS, "127.0.0.1:4222")
	if err != nil {
		return err
	}
	srv, err := startNATS(d.store.dir, at)
	if err != nil {
		return err
	}
	d.pipeline.nats = srv
	d.onClose(func() error { stopNATS(srv); return nil })
	return nil
}

func (d *dev) startSimulation() error {
	l, err := listenAt("SIM_ADDR", d.cmd.Sim, "127.0.0.1:12111")
	if err != nil {
		return err
	}
	d.sim = startSimulation(simulationConfig{seed: uint64(d.store.run), run: d.store.run, listen: l})
	d.onClose(d.sim.stop)
	d.sim.misbehave()
	d.plan.syncer.Stripe.Base = d.sim.url
	d.plan.ingest.Secrets = []string{d.sim.deliver("http://"+d.pipeline.public.Addr().String()+ingest.Path, "")}
	return nil
}

// daemonLogs is where the daemons log, and their readiness.
func (d *dev) daemonLogs() (*slog.Logger, *daemon.Readiness) {
	if d.cmd.Verbose {
		log := slog.New(slog.NewTextHandler(d.Stderr, nil))
		return log, newReadiness(log)
	}
	log := slog.New(openHandler{d.notices().Handler(), &d.open})
	return log, newReadiness(log)
}

// openHandler passes nothing on while the process starts and stops: that something is not ready yet is no news then.
type openHandler struct {
	slog.Handler
	open *atomic.Bool
}

func (h openHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.open.Load() && h.Handler.Enabled(ctx, l)
}

func (h openHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return openHandler{h.Handler.WithAttrs(attrs), h.open}
}

// sayWhyAfter is how long the daemons may take to become ready before dev says what they wait for.
const sayWhyAfter = 5 * time.Second

// awaitReady returns when both daemons are ready, or why they will not be.
func (d *dev) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- d.pipeline.ready.Wait(ctx) }() // received below, or ends with ctx into the channel's room
	// With --data, what is there already may stand in the way: another policy, say.
	defer time.AfterFunc(sayWhyAfter, func() {
		if err := d.pipeline.ready.Err(); err != nil && ctx.Err() == nil {
			d.err.note("not ready yet: " + err.Error())
		}
	}).Stop()
	select {
	case err := <-ready:
		if ctx.Err() != nil {
			return errStopped
		}
		d.open.Store(true)
		return err
	case err := <-d.pipeline.running:
		d.pipeline.running <- nil // for close
		if err == nil {
			err = errors.New("the daemons ended")
		}
		return err
	}
}

// errStopped says that somebody asked to stop before there was anything to stop.
var errStopped = errors.New("stopped")

// run shows changes until ctx ends or the time is over, and then sums up.
func (d *dev) run(ctx context.Context) error {
	err := d.start(ctx)
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	d.banner()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	opened := make(chan *entitlement.Client, 1)
	watched := make(chan error, 1)
	f := &follower{nc: d.nc, mode: d.plan.syncer.Mode, log: slog.New(slog.DiscardHandler), onRecord: d.tally.record}
	show := d.shower()
	go func() { // run receives from watched before it returns
		watched <- f.run(watching, func(c *entitlement.Client) { opened <- c }, show)
	}()
	var client *entitlement.Client
	select {
	case client = <-opened:
	case err := <-watched:
		return err
	}
	reason, err := d.live(ctx, watched)
	if err == nil {
		err = d.finish(ctx, reason, client)
	}
	stopWatching()
	if reason != watchEnded {
		err = errors.Join(err, <-watched)
	}
	return err
}

// Why dev ends.
type reason int

const (
	asked      reason = iota // by a signal
	timeIsOver               // --for
	watchEnded               // nobody reads the output any more, or it failed
)

// live lets customers live, or waits for those of a real account, until there is a reason to end.
func (d *dev) live(ctx context.Context, watched <-chan error) (reason, error) {
	over := d.over
	if d.cmd.For > 0 {
		timer := time.NewTimer(d.cmd.For - time.Since(d.began))
		defer timer.Stop()
		over = timer.C
	}
	stories, stop := context.WithCancel(ctx)
	defer stop()
	told := make(chan error, 1)
	if d.sim != nil {
		go func() { told <- d.sim.live(stories, d.cmd.Pace, nil) }() // received below
		defer func() {
			stop()
			if told != nil {
				<-told
			}
		}()
	}
	select {
	case <-ctx.Done():
		return asked, nil
	case <-over:
		return timeIsOver, nil
	case err := <-watched:
		return watchEnded, err
	case err := <-told:
		told = nil
		return asked, err
	case err := <-d.pipeline.running:
		d.pipeline.running <- nil // for close
		return asked, err
	}
}

// finish sums up; where time is over it first lets the pipeline come to rest and checks it against the simulator.
func (d *dev) finish(ctx context.Context, why reason, client *entitlement.Client) error {
	if why == watchEnded {
		return nil
	}
	var failed error
	checked := 0
	if why == timeIsOver && d.sim != nil {
		checked, failed = d.settleAndCheck(ctx, client)
		if errors.Is(failed, context.Canceled) {
			failed = nil // asked to stop meanwhile
			checked = 0
		}
	}
	if err := d.summary(ctx, checked, failed); err != nil {
		return err
	}
	if failed != nil {
		return errSilent
	}
	return nil
}

// shower counts changes and prints them.
func (d *dev) shower() func(change) error {
	p := newPrinter(d.out)
	show := p.print
	if d.cmd.JSON {
		show = d.printJSON
	}
	return func(c change) error {
		if d.tally.add(c); c.initial {
			return nil // left by a former run
		}
		return show(c)
	}
}

// freeAddr is addr, or where that is only a default and taken, port 0: which port is free then shows when it is opened, for
// one that was found free a moment before may have been taken.
func freeAddr(setting, addr, fallback string) (*net.TCPAddr, error) {
	l, err := listenAt(setting, addr, fallback)
	if err != nil {
		return nil, err
	}
	defer l.Close() //nolint:errcheck // it was open for its address only
	wanted, err := net.ResolveTCPAddr("tcp", cmp.Or(addr, fallback))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	free := *l.Addr().(*net.TCPAddr)
	if wanted.Port != free.Port {
		free.Port = 0
	}
	return &free, nil
}
