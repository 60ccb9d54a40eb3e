package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"entitled/internal/mirror"
	"entitled/internal/topology"
)

// mirrors reports whether apps read mirrors in an account of their own, or the buckets themselves.
func mirrors(ctx context.Context, nc *nats.Conn) Check {
	c := Check{Name: "apps", State: OK}
	list, err := mirror.Examine(ctx, nc)
	if _, denied := errors.AsType[*topology.DeniedError](err); denied {
		c.State, c.Text = Warn, "cannot see whether apps have their own account: "+err.Error()
		c.Next = "run this as the user ops of nats.conf; where there is no account APPS, nothing but programs of " +
			"entitled should have a user in this account"
		return c
	}
	if errors.Is(err, mirror.ErrOneAccount) {
		c.Text = "they read the buckets in this account"
		if loggedIn(nc) {
			c.State = Warn
			c.Text += ": a program that may read an entry of it can have any of its streams written to, and with a " +
				"server before 2.15.3 deleted, by the subject that it names for an answer"
			c.Next = "give your own programs a user of the account APPS of nats.conf, and let nothing but programs of " +
				"" +
				"entitled into this one"
		}
		return c
	}
	if err != nil {
		c.State, c.Text, c.Next = Fail, "not looked at: "+err.Error(),
			"check that the streams have a leader: `nats server report jetstream`"
		return c
	}
	var texts, crowded []string
	for _, s := range list {
		text := fmt.Sprintf("%s: %s", s.Bucket, count(int(s.Keys), "key"))
		switch {
		case s.Missing:
			c.State, text = Fail, s.Bucket+": no copy"
		case s.Hopeless != "":
			c.State, text = Fail, s.Bucket+": the copy must be replaced, "+s.Hopeless
		case s.Behind > 0:
			c.State, text = Fail, fmt.Sprintf("%s: the copy lacks %d revisions", s.Bucket, s.Behind)
		}
		if s.Crowded() {
			if Warn.worse(c.State) {
				c.State = Warn
			}
			text += fmt.Sprintf(", and %d of %d consumers", s.Consumers, s.MaxConsumers)
			crowded = append(crowded, "`nats req '$JS.APPS.API.STREAM.DELETE.KV_"+s.Bucket+"' ''`")
		}
		texts = append(texts, text)
	}
	c.Text = "they read copies in an account of their own; " + strings.Join(texts, ", ")
	if len(texts) == 0 {
		c.Text = "they have an account of their own; there is no bucket yet to copy"
	}
	if c.State == Fail {
		c.Next = "a running syncer mends it within seconds; `entitled topology apply` creates and replaces copies too"
	}
	if c.State != Fail && crowded != nil {
		c.Next = "a full copy refuses every new watch: find the app that opens them; as ops, " +
			strings.Join(crowded, ", ") + " removes the copy with all consumers, and the syncers recreate it"
	}
	return c
}

// loggedIn reports whether the connection has a user.
func loggedIn(nc *nats.Conn) bool {
	o := nc.Opts
	return o.User != "" || o.UserJWT != nil || o.Nkey != "" || o.Token != "" || strings.Contains(nc.ConnectedUrl(), "@")
}
