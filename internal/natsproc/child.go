package natsproc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// roleEnv in the environment turns a program that calls [Main] into a nats-server.
const roleEnv = "ENTITLED_PROCESS_IS_A_NATS_SERVER"

// An order is the configuration of a child, a line of JSON on its standard input.
type order struct {
	Name, Store string
	// Conf is a configuration file. Without one, the server syncs its disk before it acknowledges,
	// as with nats.conf.
	Conf string
	// OwnStore keeps Conf's store_dir.
	OwnStore bool
	// LazySync overrides Conf's sync_interval.
	LazySync      bool
	Port, Monitor int
	// Route is the port for the other servers, 0 for a single server. Routes are the ports by which
	// this server reaches each.
	Route     int
	Routes    []string
	Advertise string
}

// Main turns this process into a nats-server if [Start] of another process started it, and exits
// with that server. Otherwise it returns at once.
func Main() {
	if os.Getenv(roleEnv) == "" {
		return
	}
	if err := serve(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "[FTL]", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs the server that the first line of in orders, until in ends, so that no server outlives
// its parent.
func serve(in io.Reader) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("nats-server as a child: no order on standard input: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("nats-server as a child: order: %w", err)
	}
	opts, err := o.options()
	if err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("nats-server %s: %w", o.Name, err)
	}
	srv.ConfigureLogger()
	ended := make(chan struct{})
	go func() { // ends with the server
		srv.Start()
		srv.WaitForShutdown()
		close(ended)
	}()
	asked := make(chan struct{})
	go func() { // ends with standard input, or with the process
		_, _ = io.Copy(io.Discard, lines)
		close(asked)
	}()
	select {
	case <-ended:
		return errors.New("nats-server " + o.Name + " ended by itself")
	case <-asked:
		srv.Shutdown()
		<-ended
		return nil
	}
}

func (o order) options() (*server.Options, error) {
	opts := &server.Options{SyncAlways: true, MaxPayload: 2 << 20}
	if o.Conf != "" {
		var err error
		if opts, err = server.ProcessConfigFile(o.Conf); err != nil {
			return nil, fmt.Errorf("nats-server %s: %w", o.Name, err)
		}
	}
	if o.LazySync {
		opts.SyncAlways, opts.SyncInterval = false, 2*time.Minute
	}
	opts.ServerName, opts.JetStream = o.Name, true
	if !o.OwnStore {
		opts.StoreDir = o.Store
	}
	opts.Host, opts.Port, opts.HTTPHost, opts.HTTPPort = "127.0.0.1", o.Port, "127.0.0.1", o.Monitor
	// The log goes to standard error, which the parent writes to a file.
	opts.NoSigs, opts.Logtime, opts.LogFile = true, true, ""
	if o.Route == 0 {
		return opts, nil
	}
	opts.Cluster.Name, opts.Cluster.Host, opts.Cluster.Port = "natsproc", "127.0.0.1", o.Route
	opts.Routes = nil
	for _, address := range o.Routes {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: address})
	}
	// Servers announce routes to each other; this address leads nowhere, so nothing bypasses the
	// links.
	opts.Cluster.Advertise, opts.ClientAdvertise = "127.0.0.1:1", o.Advertise
	// A link cannot recognize replication in a compressed connection.
	opts.Cluster.Compression = server.CompressionOpts{Mode: server.CompressionOff}
	return opts, nil
}
