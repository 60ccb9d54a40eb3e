package natstest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startDeadline bounds the start of a server; it is generous because tests share their machine.
const startDeadline = 30 * time.Second

// askDeadline bounds a client's connecting and what it asks of JetStream. It is shorter, for a question that was on its way when a connection broke
// gets no answer, and is asked again.
const askDeadline = 10 * time.Second

// An Option changes the server's options before it starts. Host, ports, store directory, logging and signals are
// settled afterwards, so an option may replace all of them, with those of a configuration file for instance.
type Option func(*server.Options)

// SyncAlways makes the server sync its disk before it acknowledges, as nats.conf does.
func SyncAlways(o *server.Options) { o.SyncAlways = true }

// A Server is one nats-server. Its methods belong to the goroutine of the test that runs it.
type Server struct {
	*server.Server
	tb   testing.TB
	opts *server.Options
}

// Run starts a server with JetStream that stops when the test ends.
func Run(tb testing.TB, options ...Option) *Server {
	tb.Helper()
	s := newServer(tb, options)
	s.start()
	return s
}

// RunFile starts the server that a configuration file describes, as it is, so that [server.Server.Reload] reads the file again.
// Have it listen on 127.0.0.1:-1 and store in a directory of the test.
func RunFile(tb testing.TB, file string) *Server {
	tb.Helper()
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s := &Server{tb: tb, opts: opts}
	tb.Cleanup(s.Shutdown)
	s.start()
	return s
}

// newServer prepares a server that is stopped, after every connection of the test, when the test ends.
func newServer(tb testing.TB, options []Option) *Server {
	tb.Helper()
	opts := &server.Options{}
	for _, option := range options {
		option(opts)
	}
	opts.JetStream, opts.StoreDir = true, filepath.Join(tb.TempDir(), "nats")
	opts.Host, opts.Port, opts.HTTPHost, opts.HTTPPort, opts.HTTPSPort = "127.0.0.1", server.RANDOM_PORT, "", 0, 0
	opts.NoSigs, opts.NoLog, opts.LogFile, opts.PidFile, opts.PortsFileDir = true, true, "", "", ""
	s := &Server{tb: tb, opts: opts}
	tb.Cleanup(s.Shutdown)
	return s
}

func (s *Server) start() {
	s.tb.Helper()
	if err := s.launch(); err != nil {
		s.tb.Fatal(err)
	}
	s.awaitListening()
}

func (s *Server) launch() error {
	// The server keeps what it is given and fills it in; a restart needs it as it was.
	srv, err := server.NewServer(s.opts.Clone())
	if err != nil {
		return err
	}
	s.Server = srv
	srv.Start()
	return nil
}

func (s *Server) awaitListening() {
	s.tb.Helper()
	if !s.ReadyForConnections(startDeadline) {
		s.tb.Fatalf("nats-server at %s did not start within %s", s.opts.StoreDir, startDeadline)
	}
	// A client that is connected now shall find the server there again.
	s.opts.Port = s.Addr().(*net.TCPAddr).Port
}

// Shutdown stops the server and waits until it has: what it acknowledged is in its store, as far as
// its sync interval promises. A stopped server stays stopped.
func (s *Server) Shutdown() {
	if s.Server != nil {
		s.Server.Shutdown()
		s.WaitForShutdown()
	}
}

// Restart stops the server, if it runs, and starts it on the same port and store.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Shutdown()
	s.start()
}

// RemoveStore stops the server and removes its store: the disk is lost. [Server.Restart] starts it empty.
func (s *Server) RemoveStore() {
	s.tb.Helper()
	s.Shutdown()
	if err := os.RemoveAll(s.opts.StoreDir); err != nil {
		s.tb.Fatal(err)
	}
}

// URL is where clients connect.
func (s *Server) URL() string { return s.ClientURL() }

// Conn connects a client that is closed when the test of tb ends. It reconnects for ever, and within milliseconds.
func (s *Server) Conn(tb testing.TB, options ...nats.Option) *nats.Conn {
	tb.Helper()
	return connect(tb, s.URL(), options)
}

// JetStream is [Server.Conn] with JetStream on it.
func (s *Server) JetStream(tb testing.TB, options ...nats.Option) jetstream.JetStream {
	tb.Helper()
	return jetStream(tb, s.Conn(tb, options...))
}

func connect(tb testing.TB, url string, options []nats.Option) *nats.Conn {
	tb.Helper()
	options = append([]nats.Option{
		nats.Name(tb.Name()),
		nats.Timeout(askDeadline),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(5 * time.Millisecond),
		nats.ReconnectJitter(5*time.Millisecond, 5*time.Millisecond),
		// What a test provokes is not worth a line on standard error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, options...)
	nc, err := nats.Connect(url, options...)
	if err != nil {
		tb.Fatalf("connect to %s: %v", url, err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

func jetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(askDeadline))
	if err != nil {
		tb.Fatalf("JetStream: %v", err)
	}
	return js
}
