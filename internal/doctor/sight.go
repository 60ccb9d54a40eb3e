package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"entitled/internal/servers"
)

// NoMonitor as Config.Monitor means that others operate the NATS servers.
const NoMonitor = "none"

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
	s, perr := atPort(ctx, cfg)
	if perr != nil {
		return sight{err: fmt.Errorf("%w; at %s: %w", err, cfg.Monitor, perr)}
	}
	return sight{fleet: servers.One(s), port: cfg.Monitor}
}

var errNoMonitor = errors.New("no monitoring port of NATS")

// atPort asks the monitoring port of the connected server.
func atPort(ctx context.Context, cfg Config) (servers.Server, error) {
	s := servers.Server{
		Name: cfg.NATS.ConnectedServerName(), ID: cfg.NATS.ConnectedServerId(),
		Version: cfg.NATS.ConnectedServerVersion(),
	}
	switch err := ask(ctx, cfg.Monitor, "/jsz", &s.JetStream); {
	case err != nil:
		return s, err
	case s.JetStream.ServerID == "":
		return s, errNoMonitor
	case s.JetStream.ServerID != s.ID:
		return s, errors.New("that is another server than the one connected to")
	}
	var h servers.Health
	switch err := ask(ctx, cfg.Monitor, "/healthz", &h); {
	case err != nil:
		return s, err
	case h.Status == "":
		return s, errNoMonitor
	}
	s.Health = &h
	return s, nil
}

// ask reads a path of the monitoring port. An unhealthy server answers with another status than
// 200.
func ask(ctx context.Context, monitor, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitor, "/")+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		// Without the URL, which the check names.
		return errors.Unwrap(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	switch err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(answer); {
	case err != nil && res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answered %s", path, res.Status)
	case err != nil:
		return errNoMonitor
	}
	return nil
}
