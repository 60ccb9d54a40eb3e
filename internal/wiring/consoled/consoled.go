// Package consoled has the settings of the console and assembles it.
package consoled

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"entitled/entitlement"
	"entitled/internal/console"
	"entitled/internal/daemon"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/internal/wiring"
)

// Settings are the settings of the console alone.
type Settings struct {
	Addr     string `name:"console-addr" env:"CONSOLE_ADDR" default:"127.0.0.1:8084" help:"Where the console listens. It speaks plain HTTP. Not on loopback it needs CONSOLE_PASSWORD: put TLS in front of it."`
	Password string `name:"console-password" env:"CONSOLE_PASSWORD" secret:"" placeholder:"SECRET" help:"Password that the console asks for, of 16 characters or more. Default: none, on loopback only."`
	Hosts    string `name:"console-hosts" env:"CONSOLE_HOSTS" placeholder:"NAME,…" help:"Names that browsers may call the console by, as behind a proxy, separated by commas. Needs CONSOLE_PASSWORD. Default: localhost and its address only."`
}

// shortest is the least number of characters of a password: nobody guesses it in a lifetime, at the
// pace that the console allows.
const shortest = 16

const (
	passwordHint = "a random password of 16 characters or more: openssl rand -hex 16"
	hostHint     = "host names without scheme and port, separated by commas: console.example.com"
)

// A Console is checked [Settings], with everything else that a console needs except its host.
type Console struct {
	// Addr is where it listens.
	Addr   string
	config console.Config
}

// Check parses the settings. It never prints the password.
func (s Settings) Check(c *daemon.Checker) Console {
	checked := Console{Addr: c.Addr("CONSOLE_ADDR", s.Addr)}
	checked.config.Password = s.Password
	for name := range strings.SplitSeq(s.Hosts, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "" && strings.TrimSpace(s.Hosts) == "":
		case name == "", strings.ContainsAny(name, "/: *"):
			c.Problem("CONSOLE_HOSTS", "not a list of host names", hostHint)
		default:
			checked.config.Hosts = append(checked.config.Hosts, name)
		}
	}
	switch {
	case s.Password != "" && utf8.RuneCountInString(s.Password) < shortest:
		c.Problem("CONSOLE_PASSWORD", "shorter than 16 characters", passwordHint)
	case s.Password == "" && len(checked.config.Hosts) > 0:
		c.Problem("CONSOLE_PASSWORD", "missing, while CONSOLE_HOSTS lets others than this machine in",
			passwordHint+"; or remove CONSOLE_HOSTS")
	case s.Password == "" && checked.Addr != "" && !loopback(checked.Addr):
		c.Problem("CONSOLE_PASSWORD", "missing, while CONSOLE_ADDR "+checked.Addr+" is not on loopback",
			passwordHint+"; or CONSOLE_ADDR=127.0.0.1:8084")
	}
	return checked
}

// loopback reports whether only this machine reaches an address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// A Pipeline is what the console shows.
type Pipeline struct {
	Mode          entitlement.Mode
	Marks         stripeevent.Types
	CoverageEvery time.Duration
	// Topology and MaxBody (bytes) are the daemons' settings; Monitor and Gateways are where the doctor
	// asks a NATS server that does not answer over the connection, and the gateways.
	Topology topology.Options
	MaxBody  int64
	Monitor  string
	Gateways []string
	// Self is the name of the program, in commands to copy.
	Self string
}

// Run serves the pages of a pipeline on ln until ctx ends. The host's connection is that of the user
// ops.
func (c Console) Run(ctx context.Context, h wiring.Host, p Pipeline, ln net.Listener) error {
	c.config.NATS, c.config.Log, c.config.Version = h.NATS, h.Log, daemon.Version()
	c.config.Mode, c.config.Marks, c.config.CoverageEvery, c.config.Self = p.Mode, p.Marks, p.CoverageEvery, p.Self
	c.config.Topology, c.config.MaxBody, c.config.Monitor, c.config.Gateways = p.Topology, p.MaxBody, p.Monitor, p.Gateways
	opened, err := console.New(c.config)
	if err != nil {
		return err
	}
	return opened.Run(ctx, ln)
}
