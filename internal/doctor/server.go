package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/internal/topology"
)

func connection(nc *nats.Conn) Check {
	c := Check{
		Name: "nats", State: OK,
		Text: fmt.Sprintf("connected to %s, server %s", nc.ConnectedUrlRedacted(), nc.ConnectedServerVersion()),
	}
	if err := topology.CheckServer(nc); err != nil {
		c.State, c.Text, c.Next = Fail, err.Error(), "upgrade NATS, all servers of a cluster, to 2.14 or newer"
	}
	return c
}

// A natsUser is a connection's user, as the server reports it.
type natsUser struct {
	User        string `json:"user"`
	Account     string `json:"account"`
	Permissions *struct {
		Publish   *struct{ Allow, Deny []string } `json:"publish"`
		Subscribe *struct{ Allow, Deny []string } `json:"subscribe"`
	} `json:"permissions"`
}

// userOf asks the server for the connection's user.
func userOf(ctx context.Context, nc *nats.Conn) (natsUser, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
	if err != nil {
		return natsUser{}, err
	}
	var answer struct {
		Data natsUser `json:"data"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return natsUser{}, fmt.Errorf("cannot decode the answer, so this may not be a NATS server %w", err)
	}
	return answer.Data, nil
}

// user checks the connection's user and its permissions.
func user(ctx context.Context, nc *nats.Conn) Check {
	c := Check{Name: "nats user", State: OK}
	u, err := userOf(ctx, nc)
	if err != nil {
		c.State, c.Text = Warn, "the server does not report this connection's user: "+err.Error()
		c.Next = "run this as a user who may read everything, ops of nats.conf for one; the lines below name what " +
			"this user may not see"
		return c
	}
	who := u.User
	if who == "" {
		who = "anonymous"
	}
	c.Text = who + " of account " + u.Account
	p := u.Permissions
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

// overhead is the room in bytes that ingest needs besides a webhook's body, for subject and
// headers.
const overhead = 4096

func payload(has, maxBody int64) Check {
	c := Check{
		Name: "max_payload", State: OK, Text: fmt.Sprintf("%d bytes, enough for MAX_BODY_BYTES %d", has, maxBody),
	}
	if needs := maxBody + overhead; has < needs {
		// Only a warning, as in ingest: Stripe's webhooks are rarely larger than a tenth of the
		// default.
		c.State, c.Text = Warn,
			fmt.Sprintf("%d bytes, and the largest webhook needs %d: it would be answered 503 until Stripe gives up",
				has, needs)
		c.Next = fmt.Sprintf("max_payload: %d in nats.conf, or lower MAX_BODY_BYTES", needs)
	}
	return c
}
