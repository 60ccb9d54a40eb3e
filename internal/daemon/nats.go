package daemon

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// NATSSettings are the settings of the NATS connection. Embed them in a program's settings (`embed:""`).
type NATSSettings struct {
	URL      string `name:"nats-url" env:"NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS servers, separated by commas."`
	Creds    string `name:"nats-creds" env:"NATS_CREDS" placeholder:"FILE" help:"File with the NATS user's credentials."`
	User     string `name:"nats-user" env:"NATS_USER" placeholder:"NAME" help:"NATS user, with NATS_PASSWORD; instead of NATS_CREDS."`
	Password string `name:"nats-password" env:"NATS_PASSWORD" placeholder:"SECRET" secret:"" help:"The NATS user's password."`
}

// NATS is how to reach NATS: checked [NATSSettings].
type NATS struct {
	URL            string // one URL, or several separated by commas
	Creds          string // path of a credentials file
	User, Password string
}

// Check checks the settings together.
func (s NATSSettings) Check(c *Checker) NATS {
	const hint = "nats://host:4222 or tls://host:4222, several separated by commas"
	inURL := false
	for _, server := range strings.Split(s.URL, ",") {
		user, err := checkServer(strings.TrimSpace(server))
		inURL = inURL || user
		settle(c, Problem{Setting: "NATS_URL", Hint: hint}, server, struct{}{}, err)
	}
	if s.Creds != "" {
		if err := readable(s.Creds); err != nil {
			c.Problem("NATS_CREDS", err.Error(), "a file made by nsc or the nats tool, readable by this process")
		}
	}
	const one = "say who connects in one way: NATS_CREDS, or NATS_USER with NATS_PASSWORD, or in NATS_URL"
	switch named := s.User != "" || s.Password != ""; {
	case named && (s.Creds != "" || inURL):
		c.Problem("NATS_USER", "there are other credentials in NATS_CREDS or NATS_URL", one)
	case s.Creds != "" && inURL:
		c.Problem("NATS_CREDS", "there are other credentials in NATS_URL", one)
	case named && s.User == "":
		c.Problem("NATS_USER", "missing, while NATS_PASSWORD is set", one)
	case named && s.Password == "":
		c.Problem("NATS_PASSWORD", "missing, while NATS_USER is set", one)
	}
	return NATS(s)
}

// checkServer reports whether the URL of a server carries credentials. A bare host[:port] is fine, as it is for NATS.
func checkServer(server string) (credentials bool, err error) {
	if server == "" {
		return false, errors.New("an empty address")
	}
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Hostname() == "":
		return false, errors.New("not a URL")
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return false, errors.New("the scheme is not nats, tls, ws or wss")
	}
	return u.User != nil, nil
}

func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s: is a directory", file)
	}
	return nil
}
