package natstest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"entitled/internal/natsproc"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startDeadline bounds the start of a server. It is long because tests share their machine.
const startDeadline = 30 * time.Second

// askDeadline bounds a client's connecting and its JetStream requests. It is shorter, because a
// request in flight when a connection breaks gets no answer and is sent again.
const askDeadline = 10 * time.Second

// An Option changes the server's options before it starts. Host, ports, store directory, logging
// and signals are set afterwards, so an option may replace all of them, as with those of a
// configuration file.
type Option func(*server.Options)

// SyncAlways makes the server sync its disk before it acknowledges, as nats.conf does.
func SyncAlways(o *server.Options) { o.SyncAlways = true }

// A Server is one nats-server. Its methods belong to the goroutine of its test.
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

// RunFile starts the server of a configuration file without changes, so that [server.Server.Reload]
// reads the file again. It should listen on 127.0.0.1:-1 and store in a directory of the test.
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

// newServer prepares a server, which stops when the test ends, after all connections of the test.
func newServer(tb testing.TB, options []Option) *Server {
	tb.Helper()
	opts := &server.Options{}
	for _, option := range options {
		option(opts)
	}
	opts.JetStream, opts.StoreDir = true, filepath.Join(tb.TempDir(), "nats")
	opts.Host, opts.Port, opts.HTTPHost, opts.HTTPPort, opts.HTTPSPort = "127.0.0.1", 0, "", 0, 0
	opts.NoSigs, opts.NoLog, opts.LogFile, opts.PidFile, opts.PortsFileDir = true, true, "", "", ""
	ports, err := natsproc.FreePorts(1)
	if err != nil {
		tb.Fatal(err)
	}
	opts.Port = ports[0]
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
	// The server keeps and completes the options; a restart needs the original ones.
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
	// Connected clients must find the server again.
	s.opts.Port = s.Addr().(*net.TCPAddr).Port
}

// Shutdown stops the server and waits for its end: acknowledged messages are in its store, as far
// as its sync interval promises. It is not restarted.
func (s *Server) Shutdown() {
	if s.Server != nil {
		s.Server.Shutdown()
		s.WaitForShutdown()
	}
}

// Restart stops the server if it is running, and starts it on the same port and store.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Shutdown()
	s.start()
}

// RemoveStore stops the server and removes its store, like a lost disk. [Server.Restart] starts it
// empty.
func (s *Server) RemoveStore() {
	s.tb.Helper()
	s.Shutdown()
	if err := os.RemoveAll(s.opts.StoreDir); err != nil {
		s.tb.Fatal(err)
	}
}

// URL returns the client URL.
func (s *Server) URL() string { return s.ClientURL() }

// Conn connects a client that is closed when the test of tb ends. It reconnects forever, within
// milliseconds.
func (s *Server) Conn(tb testing.TB, options ...nats.Option) *nats.Conn {
	tb.Helper()
	return connect(tb, s.URL(), options)
}

// JetStream is [Server.Conn] with JetStream.
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
		// Errors that a test provokes are not worth a line on standard error.
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
