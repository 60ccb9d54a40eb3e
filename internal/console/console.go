package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/console/directory"
	"entitled/internal/console/door"
	"entitled/internal/console/hub"
	"entitled/internal/pulse"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A Config configures a [Console].
type Config struct {
	// NATS is a connection of the user ops, which reconnects forever. The caller closes it.
	NATS *nats.Conn
	// Mode is the mode of Stripe that the pages show.
	Mode entitlement.Mode
	// Password is asked for before every page; "" asks for none.
	Password string
	// Hosts are names that a browser may call the console by, besides loopback's and its address.
	Hosts []string
	// Marks are the event types that mark a customer, and CoverageEvery the interval of the coverage
	// check, both as the syncers have them.
	Marks         stripeevent.Types
	CoverageEvery time.Duration
	// Topology and MaxBody (bytes) are the daemons' settings, Monitor and Gateways those of the doctor.
	Topology topology.Options
	MaxBody  int64
	Monitor  string
	Gateways []string
	// Self is the name of the program, in commands to copy; Version its version.
	Self, Version string
	// Log takes the failures whose details a page does not show. Defaults to no logging.
	Log *slog.Logger
}

// A Console serves the pages of one mode.
type Console struct {
	cfg       Config
	source    *source
	directory *directory.Directory
	pulse     *pulse.Pulse
	live      *hub.Hub
	follower  *follower
	following *hub.Hub
	examiner  *examiner
	assets    *assets
	templates map[string]*template.Template
	now       func() time.Time
}

// New makes a console. It asks NATS nothing before the first page.
func New(cfg Config) (*Console, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Console{cfg: cfg, source: &source{nc: cfg.NATS, mode: cfg.Mode}, now: time.Now}
	c.directory = directory.New(cfg.NATS, cfg.Mode)
	c.pulse = pulse.New(pulse.Config{Open: c.source.openInspector, Fresh: fresh, Now: func() time.Time { return c.now() }})
	c.live = hub.New(sampleEvery, c.frame)
	c.follower = &follower{console: c}
	c.examiner = &examiner{}
	c.following = hub.New(followEvery, c.follower.look)
	var err error
	if c.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	c.templates, err = parseTemplates(c.assets)
	return c, err
}

// The time limits of a connection, except those of a stream.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 2 * time.Minute // longer than a sync, and than a long story
	idleTimeout       = 2 * time.Minute
	maxHeader         = 16 << 10 // bytes
	shutdownTimeout   = 15 * time.Second
)

// Run serves ln until ctx ends. Then it ends the streams, answers the requests in progress, and closes
// ln.
func (c *Console) Run(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           c.Handler(ln.Addr()),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug), // browsers cause these errors
	}
	defer c.close()
	w, ctx := errgroup.WithContext(ctx)
	w.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	w.Go(func() error {
		<-ctx.Done()
		c.live.Stop()
		c.following.Stop()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := srv.Shutdown(deadline); err != nil {
			return errors.Join(fmt.Errorf("shut down: requests still in progress after %v: %w", shutdownTimeout, err),
				srv.Close())
		}
		return nil
	})
	return w.Wait()
}

// close ends what the pages have started.
func (c *Console) close() {
	c.live.Stop()
	c.following.Stop()
	c.directory.Close()
}

// Handler answers for a listener at an address.
func (c *Console) Handler(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	for _, p := range pages() {
		mux.HandleFunc(p.pattern, c.serve(p))
	}
	mux.HandleFunc("GET /live", c.live.Stream(func(frame []byte) []byte { return frame }))
	mux.HandleFunc("GET /events/live", c.followEvents)
	mux.Handle("GET /assets/{name}", c.assets)
	mux.HandleFunc("/", c.serve(page{answer: noPage}))
	return door.New(mux, at, c.cfg.Hosts, c.cfg.Password, func() time.Time { return c.now() })
}
