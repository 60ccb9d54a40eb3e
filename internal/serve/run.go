package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"entitled/internal/daemon"
	"entitled/internal/plans"
	"entitled/internal/term"
	"entitled/internal/wiring"
	"entitled/internal/wiring/consoled"
	"entitled/internal/wiring/gatewayd"
	"entitled/internal/wiring/ingestd"
	"entitled/internal/wiring/syncerd"
)

// The NATS users of the parts; ops applies the plans document, and is the console's.
const (
	userIngest  = "ingest"
	userSyncer  = "syncer"
	userGateway = "gateway"
	userOps     = "ops"
)

// A Config says what to run.
type Config struct {
	// Dir is the directory of the data and the keys.
	Dir string
	// Public is the address of the webhooks and of the gateway, Admin that of /healthz, /readyz and
	// /metrics. NATS overrides the address in nats.conf; empty does not.
	Public, Admin, NATS string
	Ingest              ingestd.Ingest
	Syncer              syncerd.Syncer
	// Gateway has the mode of Syncer. Keys and TokenSecrets that are empty are those of the directory.
	Gateway gatewayd.Settings
	// Console has a listener of its own.
	Console consoled.Console
	Tracing daemon.Tracing
	// Plans is put in force at the start unless it is already; nil leaves what is in force. PlansFile
	// is where it was read.
	Plans     *plans.Document
	PlansFile string
	// Out takes the addresses, Log the log.
	Out term.Terminal
	Log *slog.Logger
	// Self is the name of the program, in commands to copy.
	Self string
}

// oneProcess is one run.
type oneProcess struct {
	Config
	dir     *directory
	gateway gatewayd.Gateway
	nats    *natsServer
	public  net.Listener
	admin   net.Listener
	console net.Listener
	ready   *daemon.Readiness
}

// Run runs everything until ctx ends. Then streams end, webhooks and requests in progress are
// answered, the syncer finishes its syncs, the connections are drained, and the nats-server stops.
func Run(ctx context.Context, cfg Config) (err error) {
	s := &oneProcess{Config: cfg}
	if s.dir, err = openDirectory(cfg.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.dir.close()) }()
	if err := s.readKeys(); err != nil {
		return err
	}
	if s.public, err = daemon.Listen("LISTEN_ADDR", cfg.Public); err != nil {
		return err
	}
	s.Log.Info("public listener is open", "addr", s.public.Addr().String())
	defer s.public.Close() //nolint:errcheck // ingest closes it, unless something fails before
	if s.admin, err = daemon.Listen("ADMIN_ADDR", cfg.Admin); err != nil {
		return err
	}
	defer s.admin.Close() //nolint:errcheck // the admin service closes it, unless something fails before
	if s.console, err = daemon.Listen("CONSOLE_ADDR", cfg.Console.Addr); err != nil {
		return err
	}
	defer s.console.Close() //nolint:errcheck // the console closes it, unless something fails before
	if s.nats, err = s.dir.startNATS(cfg.NATS, cfg.Log.With("daemon", "nats")); err != nil {
		return err
	}
	defer s.nats.stop()
	return s.serve(ctx)
}

// readKeys checks the gateway's settings, with the keys of the directory where none are set.
func (s *oneProcess) readKeys() error {
	if s.Gateway.Keys == "" {
		s.Gateway.Keys = "file:" + s.dir.file(keysFile)
	}
	if s.Gateway.TokenSecrets == "" {
		b, err := os.ReadFile(s.dir.file(secretFile))
		if err != nil {
			return err
		}
		if s.Gateway.TokenSecrets = strings.TrimSpace(string(b)); s.Gateway.TokenSecrets == "" {
			return confError("restore the secret, or remove the file: a new secret is made at the next start, and tokens "+
				"of the former one are refused then", "%s is empty", s.dir.file(secretFile))
		}
	}
	check := daemon.Checker{Program: s.Self}
	s.gateway = s.Gateway.Check(&check, string(s.Syncer.Mode))
	return check.Err()
}

// serve runs the parts, each on a connection of its own.
func (s *oneProcess) serve(ctx context.Context) error {
	traces, err := s.Tracing.Open(ctx, s.Log)
	if err != nil {
		return err
	}
	conditions := []string{userIngest + " " + wiring.ReadyTopology, userSyncer + " " + wiring.ReadyTopology,
		userGateway + " " + wiring.ReadyTopology}
	if s.Plans != nil {
		conditions = append(conditions, conditionPlans)
	}
	s.ready = daemon.NewReadiness(s.Log, conditions...)
	svc := daemon.Service{Admin: s.admin, Ready: s.ready, Metrics: daemon.NewRegistry(), Traces: traces, Log: s.Log}
	var links []daemon.Connection
	for _, user := range []string{userIngest, userSyncer, userGateway, userOps} {
		links = append(links, daemon.Connection{
			Name: "entitled serve: " + user, Condition: user + " nats", Log: s.Log.With("daemon", user),
			NATS:    daemon.NATS{URL: s.nats.ClientURL(), User: user, Password: s.nats.passwords[user]},
			Options: []nats.Option{nats.InProcessServer(s.nats)},
		})
	}
	host := wiring.Host{Ready: s.ready.Set, Metrics: svc.Metrics, Traces: traces.Provider(), Log: s.Log}
	s.banner()
	return svc.RunAll(ctx, links, func(ctx context.Context, nc []*nats.Conn) error {
		on := func(i int, name string) wiring.Host {
			h := host.Named(name)
			h.NATS = nc[i]
			return h
		}
		return s.work(ctx, on(0, userIngest), on(1, userSyncer), on(2, userGateway), on(3, userOps))
	})
}

// work runs the daemons. The syncer outlives the others: what they finish may need it.
func (s *oneProcess) work(ctx context.Context, ingest, syncer, gateway, ops wiring.Host) error {
	opened, err := s.gateway.Open(gateway)
	if err != nil {
		return err
	}
	defer opened.Close()
	s.Ingest.Beside = opened.Handler()

	syncing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	front, ctx := errgroup.WithContext(ctx)
	synced := make(chan error, 1)
	front.Go(func() error { // ends before synced receives, or with the front
		select {
		case err := <-synced:
			synced <- nil
			if err == nil {
				err = errors.New("ended")
			}
			return fmt.Errorf("syncer: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	go func() { synced <- s.Syncer.Run(syncing, syncer) }() // received above or below
	front.Go(func() error { return named(userIngest, s.Ingest.Run(ctx, ingest, s.public)) })
	front.Go(func() error { return named(userGateway, opened.Follow(ctx)) })
	front.Go(func() error {
		return named("console", s.Console.Run(ctx, ops, consoled.Pipeline{Mode: s.Syncer.Mode, Marks: s.Syncer.Shared.Marks,
			CoverageEvery: s.Syncer.CoverageEvery, Self: s.Self, Topology: s.Syncer.Shared.Topology,
			MaxBody: s.Ingest.MaxBody()}, s.console))
	})
	if s.Plans != nil {
		front.Go(func() error { return s.applyPlans(ctx, ops.NATS) })
	}
	err = front.Wait()
	stop()
	return errors.Join(err, named(userSyncer, <-synced))
}

func named(part string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}
