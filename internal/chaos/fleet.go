package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/internal/ingest"
	"entitled/internal/stripeapi"
	"entitled/internal/syncer"
)

// A fleet is the daemons of a run. Its methods belong to one goroutine, except url and wrong.
type fleet struct {
	url     string // of NATS
	ingest  ingest.Config
	syncer  syncer.Config
	ingests []*daemon
	syncers []*daemon

	ended sync.WaitGroup // all started daemons

	mu     sync.Mutex // guards the fields below
	errs   []error
	public []string // URLs of the ingests that run, by their place; "" for none
}

// A daemon is an ingest or a syncer with its own connection, like a separate process.
type daemon struct {
	name     string
	nats     *line
	public   *line // of an ingest's listener
	listener net.Listener
	nc       *nats.Conn
	stop     context.CancelFunc
	crashed  *bool // guarded by the fleet's mutex
	done     chan struct{}
	// back is when a daemon that is down starts again.
	back time.Time
}

const publishTimeout = time.Second

// mend starts the daemons that are down and due.
func (f *fleet) mend(now time.Time) error {
	for i, d := range f.ingests {
		if d.nc == nil && !now.Before(d.back) {
			if err := f.startIngest(i); err != nil {
				return err
			}
		}
	}
	for i, d := range f.syncers {
		if d.nc == nil && !now.Before(d.back) {
			if err := f.startSyncer(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fleet) connect(name string, l *line) (*nats.Conn, error) {
	return nats.Connect(f.url,
		nats.CustomInboxPrefix(inbox),
		nats.Name(name),
		nats.SetCustomDialer(l),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		// Provoked errors are not worth a line on standard error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	)
}

func (f *fleet) startIngest(i int) (err error) {
	d := &daemon{name: fmt.Sprintf("ingest %d", i), nats: newLine(), public: newLine()}
	if d.nc, err = f.connect(d.name, d.nats); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	cfg := f.ingest
	cfg.Log = cfg.Log.With("daemon", d.name)
	if cfg.Publisher, err = ingest.NewPublisher(d.nc, publishTimeout); err != nil {
		return err
	}
	in, err := ingest.New(cfg)
	if err != nil {
		return err
	}
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	f.ingests[i] = d
	f.open(i, "http://"+d.listener.Addr().String()+ingest.Path)
	f.run(d, func(ctx context.Context) error { return in.Run(ctx, tappedListener{d.listener, d.public}) })
	return nil
}

func (f *fleet) startSyncer(i int) (err error) {
	d := &daemon{name: fmt.Sprintf("syncer %d", i), nats: newLine()}
	cfg := f.syncer
	cfg.Log = cfg.Log.With("daemon", d.name)
	if cfg.NATS, err = f.connect(d.name, d.nats); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	s, err := syncer.New(cfg)
	if err != nil {
		return err
	}
	d.nc, f.syncers[i] = cfg.NATS, d
	f.run(d, s.Run)
	return nil
}

func (f *fleet) run(d *daemon, run func(context.Context) error) {
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	d.done, d.crashed = make(chan struct{}), new(bool)
	nc, crashed := d.nc, d.crashed
	f.ended.Go(func() { // close waits for it
		defer close(d.done)
		defer nc.Close()
		err := run(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil && !*crashed {
			f.errs = append(f.errs, fmt.Errorf("%s ended: %w", d.name, err))
		}
	})
}

// crash ends a daemon like a kill: from one instant on, nothing that it sends arrives.
func (f *fleet) crash(d *daemon, back time.Time) {
	if d.nc == nil {
		return
	}
	f.mu.Lock()
	*d.crashed = true
	f.mu.Unlock()
	d.nats.kill()
	if d.public != nil {
		f.shut(d)
		_ = d.listener.Close() // it is to be gone
		d.public.kill()
	}
	d.nc.Close()
	d.stop()
	d.nc, d.back = nil, back
}

// halt stops a daemon in order, without waiting for its end.
func (f *fleet) halt(d *daemon, back time.Time) {
	if d.nc == nil {
		return
	}
	if d.public != nil {
		f.shut(d)
	}
	d.stop()
	d.nc, d.back = nil, back
}

// open and shut add and remove destinations of webhooks.
func (f *fleet) open(i int, url string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.public[i] = url
}

func (f *fleet) shut(d *daemon) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ingests {
		if f.ingests[i] == d {
			f.public[i] = ""
		}
	}
}

// where returns the URL of a running ingest, the pick'th of them, or "".
func (f *fleet) where(pick int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.public {
		if u := f.public[(pick+i)%len(f.public)]; u != "" {
			return u
		}
	}
	return ""
}

func (f *fleet) all() []*daemon { return append(append([]*daemon{}, f.ingests...), f.syncers...) }

// wrong returns the errors of daemons that should not have ended.
func (f *fleet) wrong() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs
}

// fail records an error that fails the run.
func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

// close stops all daemons and waits for them.
func (f *fleet) close() {
	for _, d := range f.all() {
		f.crash(d, time.Time{})
	}
	f.ended.Wait()
}

func newFleet(cfg Config, in ingest.Config, sy syncer.Config) (*fleet, error) {
	f := &fleet{
		url: cfg.Server.URL(), ingest: in, syncer: sy,
		ingests: make([]*daemon, cfg.Ingests), syncers: make([]*daemon, cfg.Syncers),
		public: make([]string, cfg.Ingests),
	}
	for i := range f.ingests {
		f.ingests[i] = &daemon{}
	}
	for i := range f.syncers {
		f.syncers[i] = &daemon{}
	}
	if err := f.mend(time.Now()); err != nil {
		f.close()
		return nil, errors.Join(errors.New("start the daemons"), err)
	}
	return f, nil
}

// simulatedKey is a key that the simulator takes.
const simulatedKey = "rk_test_chaos"

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func stripeConfig(base string) stripeapi.Config {
	return stripeapi.Config{Key: simulatedKey, Base: base, Timeout: 5 * time.Second}
}
