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

// monitored is what only the monitoring port of the server connected to shows.
func monitored(ctx context.Context, cfg Config) []Check {
	var info jszAnswer
	err := ask(ctx, cfg.Monitor, "/jsz", &info)
	switch {
	case err == nil && info.ServerID == "":
		err = errNoMonitor
	case err == nil && info.ServerID != cfg.NATS.ConnectedServerId():
		err = errors.New("that is another server than the one connected to")
	}
	return []Check{durability(cfg, info, err), health(ctx, cfg.Monitor, info, err)}
}

// durability is about sync_interval.
func durability(cfg Config, info jszAnswer, err error) Check {
	c := Check{Name: "durability", State: OK, Text: "sync_interval is always: what is acknowledged is on disk"}
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

// health is what the server finds wrong with what it stores. One whose disk was full refuses writes and answers everything else as ever, also when
// there is room again: nats-server 2.15 must be started anew. Started on a disk that is still full it calls itself well and refuses all the same: its limit
// follows from the room that it found.
func health(ctx context.Context, monitor string, info jszAnswer, err error) Check {
	c := Check{Name: "nats health", State: OK, Text: "/healthz is ok: the server finds nothing wrong with its streams"}
	var answer healthzAnswer
	if err == nil {
		err = ask(ctx, monitor, "/healthz", &answer)
	}
	if err == nil && answer.Status == "" {
		err = errNoMonitor
	}
	switch {
	case err != nil:
		c.State, c.Text = Warn, fmt.Sprintf("cannot see /healthz at %s: %v", monitor, err)
		c.Next = "on each server's machine: curl -s http://127.0.0.1:8222/healthz, or say where with --nats-monitor"
	case answer.Status == "ok" && info.Storage > info.Config.MaxStorage:
		c.State, c.Text = Fail, fmt.Sprintf("JetStream stores %d bytes, more than its max_storage %d: it takes no more", info.Storage, info.Config.MaxStorage)
		c.Next = "make room on the disk of NATS, or raise max_file_store in nats.conf if it is there, then restart the server: it reckons the limit when it starts"
	case answer.Status != "ok":
		c.State, c.Text = Fail, clip("/healthz is "+answer.Status+": "+answer.Error)
		c.Next = "is the disk of NATS full? make room, then restart the server, which goes on refusing writes until then; else its log says more"
	}
	return c
}

// longest bounds what is shown of a server's own words, in bytes.
const longest = 400

func clip(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

type jszAnswer struct {
	ServerID string `json:"server_id"`
	Disabled bool   `json:"disabled"`
	// Storage, in bytes, is what the streams on the disk take.
	Storage int64 `json:"storage"`
	Config  struct {
		MaxStorage   int64         `json:"max_storage"`
		SyncAlways   bool          `json:"sync_always"`
		SyncInterval time.Duration `json:"sync_interval"`
	} `json:"config"`
}

type healthzAnswer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
}

var errNoMonitor = errors.New("no monitoring port of NATS")

// ask reads what the monitoring port has at a path. A server that is not well says so with another status than 200.
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
		return fmt.Errorf("answered %s", res.Status)
	case err != nil:
		return errNoMonitor
	}
	return nil
}
