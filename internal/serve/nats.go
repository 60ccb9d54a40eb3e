package serve

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"entitled/internal/daemon"
	"entitled/internal/tell"
)

// A ConfError says that nats.conf or a key in the directory needs attention.
type ConfError struct{ tell.Hinted }

func confError(hint, format string, args ...any) error {
	return ConfError{tell.Hinted{Err: fmt.Errorf(format, args...), Hint: hint}}
}

// natsStart bounds the start of the server. It takes tens of milliseconds, and longer with much data.
const natsStart = 5 * time.Minute

// A natsServer is the nats-server of a directory, in this process.
type natsServer struct {
	*server.Server
	passwords map[string]string // by user
}

// options reads nats.conf. addr overrides its address.
func (d *directory) options(addr string) (*server.Options, error) {
	file := d.file(confFile)
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		reason := strings.TrimSpace(err.Error())
		if !strings.HasPrefix(reason, file) { // some begin with the line in the file
			reason = file + ": " + reason
		}
		return nil, confError("correct that line, or move the file away: a new one is made at the next start",
			"%s", reason)
	}
	if store, want := filepath.Clean(opts.StoreDir), d.file(storeDir); !opts.JetStream || store != want {
		return nil, confError(fmt.Sprintf("set store_dir: %q in the block jetstream; after moving the directory, change "+
			"the path in the file. Another disk can be mounted, or linked, there", want),
			"%s: the store of JetStream is %q, not in this directory", file, opts.StoreDir)
	}
	if opts.Cluster.Port != 0 || len(opts.Routes) > 0 {
		return nil, confError("remove the block cluster. For a cluster, take a backup, run nats-servers and the daemons, "+
			"and restore it there", "%s: it joins a cluster, and serve is one server", file)
	}
	if addr != "" {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("NATS_ADDR: %w", err)
		}
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("NATS_ADDR: %w", err)
		}
		opts.Host = host
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	opts.ServerName = cmp.Or(opts.ServerName, "entitled")
	opts.NoSigs = true // this process's signals are ours
	return opts, nil
}

// users returns the passwords of the users that serve connects as.
func (d *directory) users(opts *server.Options) (map[string]string, error) {
	passwords := map[string]string{}
	for _, u := range opts.Users {
		passwords[u.Username] = u.Password
	}
	for _, name := range []string{userIngest, userSyncer, userGateway, userOps} {
		switch password := passwords[name]; {
		case password == "":
			return nil, confError("give it the user back, with a password, as the shipped nats.conf does",
				"%s: it has no user %s with a password", d.file(confFile), name)
		case strings.HasPrefix(password, "$2a$"):
			return nil, confError("write the password itself: serve connects with it", "%s: the password of %s is a hash",
				d.file(passwordsFile), name)
		}
	}
	return passwords, nil
}

// startNATS starts the server and returns when clients can connect.
func (d *directory) startNATS(addr string, log *slog.Logger) (*natsServer, error) {
	opts, err := d.options(addr)
	if err != nil {
		return nil, err
	}
	passwords, err := d.users(opts)
	if err != nil {
		return nil, err
	}
	if !opts.SyncAlways {
		log.Warn("a power failure loses webhooks that were answered 200", "hint", "sync_interval: always in the block "+
			"jetstream of "+d.file(confFile))
	}
	if opts.Port > 0 {
		// For an error that names the setting. The server would only log that the port is taken.
		l, err := daemon.Listen("NATS_ADDR", net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port)))
		if err != nil {
			return nil, err
		}
		l.Close() //nolint:errcheck // it was open for its address only
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, confError("correct the file", "%s: %w", d.file(confFile), err)
	}
	out := &natsLog{log: log, fatal: make(chan string, 1)}
	srv.SetLoggerV2(out, false, false, false)
	n := &natsServer{srv, passwords}
	ready := make(chan bool, 1)
	go func() { // ends when the server is ready, or shut down
		srv.Start()
		ready <- srv.ReadyForConnections(natsStart)
	}()
	select {
	case ok := <-ready:
		if ok {
			return n, nil
		}
		err = fmt.Errorf("nats-server: not ready within %s", natsStart)
	case reason := <-out.fatal:
		err = errors.New("nats-server: " + reason)
	}
	n.stop()
	return nil, tell.WithHint(err, "check that "+d.path+" is writable and has room, and that no other nats-server uses it")
}

// stop returns once what the server acknowledged is in its store.
func (n *natsServer) stop() {
	n.Shutdown()
	n.WaitForShutdown()
}

// natsLog writes the server's warnings and errors into the log. Its notices are about each start and
// each connection, and the one warning about plain passwords is about a file that only we may read.
type natsLog struct {
	log   *slog.Logger
	fatal chan string // receives why the server cannot start
}

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(string, ...any)           {}
func (l *natsLog) Tracef(string, ...any)           {}

func (l *natsLog) Warnf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); !strings.HasPrefix(text, "Plaintext passwords") {
		l.log.Warn(text)
	}
}

func (l *natsLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error(text)
	select {
	case l.fatal <- text:
	default:
	}
}
