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

	"github.com/nats-io/nats.go"

	"entitled/internal/topology"
)

func connection(nc *nats.Conn) Check {
	c := Check{Name: "nats", State: OK, Text: fmt.Sprintf("connected to %s, server %s", nc.ConnectedUrlRedacted(), nc.ConnectedServerVersion())}
	if err := topology.CheckServer(nc); err != nil {
		c.State, c.Text, c.Next = Fail, err.Error(), "upgrade NATS, all servers of a cluster, to 2.14 or newer"
	}
	return c
}

// user asks the server who this is; the answer also tells what the user may do.
func user(ctx context.Context, nc *nats.Conn) Check {
	c := Check{Name: "nats user", State: OK}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
	if err != nil {
		c.State, c.Text = Warn, "the server does not tell who this user is: "+err.Error()
		c.Next = "run this as a user who may read everything, ops of nats.conf for one; what this one may not see is said below"
		return c
	}
	var answer struct {
		Data struct {
			User        string `json:"user"`
			Account     string `json:"account"`
			Permissions *struct {
				Publish   *struct{ Allow, Deny []string } `json:"publish"`
				Subscribe *struct{ Allow, Deny []string } `json:"subscribe"`
			} `json:"permissions"`
		} `json:"data"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		c.State, c.Text, c.Next = Warn, "the server's answer about this user cannot be read: "+err.Error(), "is that a NATS server?"
		return c
	}
	who := answer.Data.User
	if who == "" {
		who = "anonymous"
	}
	c.Text = who + " of account " + answer.Data.Account
	p := answer.Data.Permissions
	if p == nil || p.Publish == nil && p.Subscribe == nil {
		c.State, c.Text = Warn, c.Text+": may do everything"
		c.Next = "fine on your own machine; elsewhere give each program its user of nats.conf"
		return c
	}
	c.Text += fmt.Sprintf(": may publish %s and subscribe to %s", allowed(p.Publish), allowed(p.Subscribe))
	return c
}

func allowed(p *struct{ Allow, Deny []string }) string {
	switch {
	case p == nil || len(p.Allow) == 0 && len(p.Deny) == 0:
		return "everything"
	case len(p.Allow) == 1 && p.Allow[0] == ">" && len(p.Deny) == 0:
		return "everything"
	case len(p.Allow) == 0:
		return fmt.Sprintf("all but %d subjects", len(p.Deny))
	case len(p.Allow) == 1:
		return p.Allow[0]
	}
	return fmt.Sprintf("%d subjects", len(p.Allow))
}

// overhead is the room, in bytes, that ingest wants beside a webhook's body, for subject and headers.
const overhead = 4096

func payload(has, maxBody int64) Check {
	c := Check{Name: "max_payload", State: OK, Text: fmt.Sprintf("%d bytes, enough for MAX_BODY_BYTES %d", has, maxBody)}
	if needs := maxBody + overhead; has < needs {
		// As ingest has it: Stripe's webhooks are rarely larger than a tenth of the default.
		c.State, c.Text = Warn, fmt.Sprintf("%d bytes, and the largest webhook needs %d: it would be answered 503 until Stripe gives up", has, needs)
		c.Next = fmt.Sprintf("max_payload: %d in nats.conf, or lower MAX_BODY_BYTES", needs)
	}
	return c
}

// durability looks at sync_interval on the server's monitoring port, the only place that shows it.
func durability(ctx context.Context, cfg Config) Check {
	c := Check{Name: "durability", State: OK, Text: "sync_interval is always: what is acknowledged is on disk"}
	info, err := jsz(ctx, cfg.Monitor)
	if err == nil && info.ServerID != cfg.NATS.ConnectedServerId() {
		err = errors.New("that is another server than the one connected to")
	}
	switch {
	case err != nil:
		c.State, c.Text = Warn, fmt.Sprintf("cannot see sync_interval at %s: %v", cfg.Monitor, err)
		c.Next = "on each server's machine: curl -s http://127.0.0.1:8222/jsz | grep sync_always, or say where with --nats-monitor"
	case info.Config.SyncAlways:
	case cfg.Topology.Replicas > 1:
		c.State, c.Text = Warn, fmt.Sprintf("the disk is synced every %s: a power failure of the whole cluster loses what was acknowledged since", info.Config.SyncInterval)
		c.Next = "sync_interval: always in the block jetstream of nats.conf, on every server"
	default:
		c.State, c.Text = Fail, fmt.Sprintf("the disk is synced every %s: a power failure loses webhooks that Stripe does not send again", info.Config.SyncInterval)
		c.Next = "sync_interval: always in the block jetstream of nats.conf, or entitled dev --data"
	}
	return c
}

type jszAnswer struct {
	ServerID string `json:"server_id"`
	Disabled bool   `json:"disabled"`
	Config   struct {
		SyncAlways   bool          `json:"sync_always"`
		SyncInterval time.Duration `json:"sync_interval"`
	} `json:"config"`
}

func jsz(ctx context.Context, monitor string) (jszAnswer, error) {
	var answer jszAnswer
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitor, "/")+"/jsz", nil)
	if err != nil {
		return answer, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		// Without the URL, which the check names.
		return answer, errors.Unwrap(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	if res.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("answered %s", res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil || answer.ServerID == "" {
		return answer, errors.New("no monitoring port of NATS")
	}
	return answer, nil
}
