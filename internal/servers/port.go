package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

var errNoPort = errors.New("no monitoring port of NATS")

// AtPort asks the monitoring port, a URL, of the connected server.
func AtPort(ctx context.Context, nc *nats.Conn, monitor string) (Server, error) {
	s := Server{
		Name: nc.ConnectedServerName(), ID: nc.ConnectedServerId(),
		Version: nc.ConnectedServerVersion(),
	}
	switch err := readPort(ctx, monitor, "/jsz", &s.JetStream); {
	case err != nil:
		return s, err
	case s.JetStream.ServerID == "":
		return s, errNoPort
	case s.JetStream.ServerID != s.ID:
		return s, errors.New("that is another server than the one connected to")
	}
	var h Health
	switch err := readPort(ctx, monitor, "/healthz", &h); {
	case err != nil:
		return s, err
	case h.Status == "":
		return s, errNoPort
	}
	s.Health = &h
	return s, nil
}

// readPort reads a path of the monitoring port. An unhealthy server answers with another status than
// 200.
func readPort(ctx context.Context, monitor, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitor, "/")+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		// Without the URL, which the caller names.
		return errors.Unwrap(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	switch err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(answer); {
	case err != nil && res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answered %s", path, res.Status)
	case err != nil:
		return errNoPort
	}
	return nil
}
