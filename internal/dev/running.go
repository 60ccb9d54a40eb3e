package dev

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/follow"
	"entitled/internal/ingest"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/wiring/consoled"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
	"entitled/stripesim"
)

// A Config says which parts run, and how.
type Config struct {
	// Simulated runs a simulated Stripe, which the syncer reads and which sends its webhooks to
	// ingest.
	Simulated bool
	Ingest    ingestd.Ingest
	Syncer    syncerd.Syncer
	Tracing   daemon.Tracing
	// Listen, Gateway, Admin, NATS and Sim are the addresses of the webhooks, the gateway, the
	// metrics, the nats-server and the simulated Stripe. An empty one is the usual port on loopback, or a free port if that
	// is taken.
	Listen, Gateway, Admin, NATS, Sim string
	// Console is a console, and ConsoleAddr where it listens, as the addresses above.
	Console     consoled.Console
	ConsoleAddr string
	// Shop is where the example shop listens, which runs with a simulated Stripe, as the addresses above.
	Shop string
	// Data is the directory of the streams; empty for a temporary one.
	Data string
	// For is how long it runs; 0 for until its context ends.
	For time.Duration
	// Pace is the time between two steps of the simulated customers.
	Pace time.Duration
	// JSON prints changes for programs.
	JSON bool
	// Verbose prints the logs of the daemons, and all of the banner at once.
	Verbose bool
	// Out takes the changes. Err takes warnings, and with JSON everything but the changes.
	Out, Err term.Terminal
	// Self is the name of the program, in commands to copy.
	Self string
}

// ErrWrong is the result of a failed check at the end. Its details are printed.
var ErrWrong = errors.New("a snapshot is not what the simulator holds")

// Run runs everything until ctx ends or the time of cfg is over, and then closes it. It returns
// [ErrWrong] if the check at the end failed.
func Run(ctx context.Context, cfg Config) error {
	d := newDev(cfg)
	return errors.Join(d.run(ctx), d.close())
}

// dev is one run. It closes in reverse order of opening.
type dev struct {
	Config
	began time.Time
	say   term.Terminal // where everything but changes goes
	// open is set while the daemons' readiness is news: after the start and before the end.
	open atomic.Bool

	store    dataDir
	stripe   *Simulation // nil with an account of the user's own
	pipeline pipeline
	at       addresses
	key      string       // the gateway's server key
	shop     net.Listener // nil with an account of the user's own
	nc       *nats.Conn
	client   *entitlement.Client // of the follower, once it has the bucket
	tally    tally
	closers  []func() error
	// over, if not nil, ends the run when it receives; tests end a run that has shown enough.
	over <-chan time.Time
	// atRest, if not nil, is called between the coming to rest and the check; tests change things
	// then.
	atRest func()
}

func newDev(cfg Config) *dev {
	d := &dev{Config: cfg, began: time.Now(), say: cfg.Out}
	if cfg.JSON {
		d.say = cfg.Err
	}
	return d
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
	if d.store, err = openData(d.Data); err != nil {
		return err
	}
	d.onClose(d.store.close)
	if err := d.startNATS(); err != nil {
		return err
	}
	p := &d.pipeline
	if p.public, err = Listen("LISTEN_ADDR", d.Listen, "127.0.0.1:8080"); err != nil {
		return err
	}
	d.onClose(func() error { p.public.Close(); return nil }) //nolint:errcheck // ingest closes it, unless something failed before
	if d.Simulated {
		if err := errors.Join(d.startSimulation(), d.openShop()); err != nil {
			return err
		}
	}
	if err := errors.Join(d.openGateway(), d.openConsole()); err != nil {
		return err
	}
	if p.admin, err = Listen("ADMIN_ADDR", d.Admin, "127.0.0.1:8081"); err != nil {
		return err
	}
	d.onClose(func() error { p.admin.Close(); return nil }) //nolint:errcheck // the daemons close it, unless something failed before
	p.ingest, p.syncer, p.tracing = d.Ingest, d.Syncer, d.Tracing
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
	if d.shop != nil {
		if err := d.startShop(); err != nil {
			return err
		}
	}
	if d.nc, err = p.connect(); err != nil {
		return err
	}
	d.onClose(func() error { d.nc.Close(); return nil })
	if err := d.tally.begin(ctx, d.nc); err != nil || d.stripe == nil {
		return err
	}
	d.stripe.more = func(round int) []stripesim.Story {
		if round > 1 {
			return []stripesim.Story{d.partnerStory()}
		}
		return []stripesim.Story{d.partnerStory(), d.plansStory(ctx)}
	}
	_, err = d.applyPlans(ctx, firstPlans, "the plans of the simulated customers")
	return err
}

func (d *dev) startNATS() error {
	at, err := freeAddr("NATS_ADDR", d.NATS, "127.0.0.1:4222")
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
	l, err := Listen("SIM_ADDR", d.Sim, "127.0.0.1:12111")
	if err != nil {
		return err
	}
	d.stripe = StartSimulation(SimulationConfig{Seed: uint64(d.store.run), run: d.store.run, Listen: l})
	d.onClose(d.stripe.Stop)
	d.stripe.misbehave()
	// Weeks pass in seconds for the customers of stories, and not for a person in the shop.
	d.stripe.stories = d.stripe.NewClock()
	d.Syncer.Stripe.Base = d.stripe.URL
	d.Ingest.Secrets = []string{d.stripe.Deliver("http://"+d.pipeline.public.Addr().String()+ingest.Path, "")}
	return nil
}

// daemonLogs is where the daemons log, and their readiness.
func (d *dev) daemonLogs() (*slog.Logger, *daemon.Readiness) {
	if d.Verbose {
		log := slog.New(slog.NewTextHandler(d.Err, nil))
		return log, newReadiness(log)
	}
	log := slog.New(openHandler{term.Notices(d.Err).Handler(), &d.open})
	return log, newReadiness(log)
}

// openHandler passes nothing on while the process starts and stops: that something is not ready yet
// is no news then.
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
			d.Err.Note("not ready yet: " + err.Error())
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

// errStopped says that dev was stopped before there was anything to stop.
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
	d.at = addresses{
		webhooks: "http://" + d.pipeline.public.Addr().String() + ingest.Path,
		nats:     d.pipeline.nats.ClientURL(),
		gateway:  "http://" + tell.LocalAddr(d.pipeline.asked.Addr()),
		console:  "http://" + tell.LocalAddr(d.pipeline.shown.Addr()),
		metrics:  "http://" + d.pipeline.admin.Addr().String() + "/metrics",
	}
	if d.shop != nil {
		d.at.shop = local(d.shop)
	}
	d.banner()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	opened := make(chan *entitlement.Client, 1)
	watched := make(chan error, 1)
	f := &follow.Follower{NATS: d.nc, Mode: d.Syncer.Mode, Log: slog.New(slog.DiscardHandler), OnRecord: d.tally.record}
	show := d.shower()
	go func() { // run receives from watched before it returns
		watched <- f.Run(watching, func(c *entitlement.Client) { opened <- c }, show)
	}()
	select {
	case d.client = <-opened:
	case err := <-watched:
		return err
	}
	reason, err := d.live(ctx, watched)
	if err == nil {
		err = d.finish(ctx, reason)
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
	watchEnded               // the output has no reader any more, or failed
)

// live lets customers live, or waits for those of a real account, until there is a reason to end.
func (d *dev) live(ctx context.Context, watched <-chan error) (reason, error) {
	over := d.over
	if d.For > 0 {
		timer := time.NewTimer(d.For - time.Since(d.began))
		defer timer.Stop()
		over = timer.C
	}
	stories, stop := context.WithCancel(ctx)
	defer stop()
	finished := make(chan error, 1)
	if d.stripe != nil {
		go func() { // received below
			finished <- d.stripe.during(stories, 1, func(ctx context.Context) error {
				return d.stripe.Play(ctx, d.Pace, nil)
			})
		}()
		defer func() {
			stop()
			if finished != nil {
				<-finished
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
	case err := <-finished:
		finished = nil
		return asked, err
	case err := <-d.pipeline.running:
		d.pipeline.running <- nil // for close
		return asked, err
	}
}

// finish sums up; where time is over it first lets the pipeline come to rest and checks it against
// the simulator.
func (d *dev) finish(ctx context.Context, why reason) error {
	if why == watchEnded {
		return nil
	}
	var failed error
	checked := 0
	if why == timeIsOver && d.stripe != nil {
		checked, failed = d.settleAndCheck(ctx)
		if errors.Is(failed, context.Canceled) {
			failed = nil // asked to stop meanwhile
			checked = 0
		}
	}
	if err := d.summary(ctx, checked, failed); err != nil {
		return err
	}
	if failed != nil {
		return ErrWrong
	}
	return nil
}

// shower counts changes and prints them.
func (d *dev) shower() func(follow.Change) error {
	show := follow.NewPrinter(d.Out).Print
	if d.JSON {
		show = func(c follow.Change) error {
			_, err := d.Out.Write(c.Encode())
			return err
		}
	}
	return func(c follow.Change) error {
		if d.tally.add(c); c.Initial {
			return nil // left by a former run
		}
		return show(c)
	}
}
