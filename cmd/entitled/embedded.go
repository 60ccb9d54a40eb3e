package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embeddedStart bounds the start of the server. It takes tens of milliseconds, and longer with much data.
const embeddedStart = 30 * time.Second

// startNATS runs a nats-server in this process. It keeps its streams under dir, and syncs its disk before it acknowledges, as nats.conf has it.
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
	if err := tellOfItself(srv); err != nil {
		stopNATS(srv)
		return nil, fmt.Errorf("embedded nats-server: %w", err)
	}
	if !srv.ReadyForConnections(embeddedStart) {
		stopNATS(srv)
		return nil, withHint(errors.New("embedded nats-server: not ready within "+embeddedStart.String()),
			"is "+at.String()+" free, and "+dir+" writable and in use by nobody else?")
	}
	return srv, nil
}

// tellOfItself has the server answer every client about its JetStream and its health, as the account SYS of nats.conf answers ENTITLED.
func tellOfItself(srv *server.Server) error {
	for _, question := range []string{"$SYS.REQ.SERVER.PING.JSZ", "$SYS.REQ.SERVER.PING.HEALTHZ"} {
		if err := srv.SystemAccount().AddServiceExportWithResponse(question, server.Streamed, []*server.Account{srv.GlobalAccount()}); err != nil {
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
