package dev

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"entitled/internal/tell"
)

// embeddedStart bounds the start of the server. It takes tens of milliseconds, and longer with much
// data.
const embeddedStart = 30 * time.Second

// A NATS is a nats-server in this process. It keeps its streams in a directory, and syncs its disk
// before it acknowledges, as nats.conf has it.
type NATS struct {
	dir string
	at  net.Addr
	srv *server.Server // nil: stopped
}

// StartNATS starts a server that listens at an address and keeps its streams under dir.
func StartNATS(dir string, at net.Addr) (*NATS, error) {
	srv, err := startNATS(dir, at)
	if err != nil {
		return nil, err
	}
	return &NATS{dir: dir, at: srv.Addr(), srv: srv}, nil
}

// URL is where clients connect, also after a restart.
func (n *NATS) URL() string { return "nats://" + n.at.String() }

// Restart stops the server, unless it is stopped already, and starts it on the same data and
// address.
func (n *NATS) Restart() (err error) {
	n.Stop()
	n.srv, err = startNATS(n.dir, n.at)
	return err
}

// Stop returns once what the server acknowledged is in its store.
func (n *NATS) Stop() {
	if n.srv != nil {
		stopNATS(n.srv)
		n.srv = nil
	}
}

func startNATS(dir string, at net.Addr) (*server.Server, error) {
	host, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "entitled-dev",
		Host:       host,
		Port:       number,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: true,
		MaxPayload: 2 << 20, // as in nats.conf: above the largest webhook
		NoSigs:     true,    // this process's signals are ours
		NoLog:      true,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded nats-server: %w", err)
	}
	srv.Start()
	if err := exportMonitoring(srv); err != nil {
		stopNATS(srv)
		return nil, fmt.Errorf("embedded nats-server: %w", err)
	}
	if !srv.ReadyForConnections(embeddedStart) {
		stopNATS(srv)
		return nil, tell.WithHint(errors.New("embedded nats-server: not ready within "+embeddedStart.String()),
			"check that "+at.String()+" is free, and that "+dir+" is writable and in use by no other program")
	}
	return srv, nil
}

// exportMonitoring lets every client ask the server about its JetStream and its health, as the
// account SYS of nats.conf lets ENTITLED.
func exportMonitoring(srv *server.Server) error {
	for _, question := range []string{"$SYS.REQ.SERVER.PING.JSZ", "$SYS.REQ.SERVER.PING.HEALTHZ"} {
		if err := srv.SystemAccount().AddServiceExportWithResponse(question, server.Streamed,
			[]*server.Account{srv.GlobalAccount()}); err != nil {
			return err
		}
		if err := srv.GlobalAccount().AddServiceImport(srv.SystemAccount(), question, question); err != nil {
			return err
		}
	}
	return nil
}

// stopNATS returns once what the server acknowledged is in its store.
func stopNATS(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}
