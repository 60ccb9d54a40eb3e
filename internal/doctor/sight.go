package doctor

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"entitled/internal/servers"
)

// NoMonitor as Config.Monitor means that others operate the NATS servers.
const NoMonitor = "none"

// monitorOf is where the monitoring port of a server usually is.
func monitorOf(server string) string {
	host := "127.0.0.1"
	if u, err := url.Parse(server); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	return "http://" + net.JoinHostPort(host, "8222")
}

// answersWithin bounds the wait for the NATS servers' answers. With a missing server each request
// takes that long.
const answersWithin = 3 * time.Second

// A sight is the result of asking the NATS servers.
type sight struct {
	fleet servers.Fleet
	// port is the monitoring port if only that answered; empty if the servers answered over the
	// connection.
	port string
	// err is why there is no answer.
	err error
}

// look asks every server over the connection; if none answers, it asks the monitoring port of the
// connected server.
func look(ctx context.Context, cfg Config) sight {
	fleet, err := servers.Look(ctx, cfg.NATS, answersWithin, true)
	if err == nil {
		return sight{fleet: fleet}
	}
	if cfg.Monitor == NoMonitor {
		return sight{err: err}
	}
	s, perr := servers.AtPort(ctx, cfg.NATS, cfg.Monitor)
	if perr != nil {
		return sight{err: fmt.Errorf("%w; at %s: %w", err, cfg.Monitor, perr)}
	}
	return sight{fleet: servers.One(s), port: cfg.Monitor}
}
