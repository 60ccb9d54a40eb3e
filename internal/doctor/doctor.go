// Package doctor makes the checks of an operator: the connection to NATS and the user's
// permissions, the servers' durability and health, the topology, pending work and parked customers,
// whether every event has led to a sync, the jobs, the clocks, and the permissions of the Stripe
// key, and the gateways.
//
// Connect, call [Examine], print the [Report].
//
// It writes nothing to NATS or Stripe. Each [Check] is ok, warn (it works, but needs attention),
// unseen (it could not be checked, and may not work) or fail (it does not work, or data may be
// lost), and names the next step.
//
// Limits: clocks are compared with that of the machine it runs on. Missing webhooks can have
// innocent reasons. NATS servers are checked only where they answer: over the connection with the
// accounts of nats.conf, else at the monitoring port of the connected server.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

// A State is the result of a check.
type State string

const (
	OK   State = "ok"
	Warn State = "warn"
	// Unseen means that a check could not be made, so it may hide a failure.
	Unseen State = "unseen"
	Fail   State = "fail"
)

// worse reports whether s is worse than t.
func (s State) worse(t State) bool {
	order := []State{OK, Warn, Unseen, Fail}
	return slices.Index(order, s) > slices.Index(order, t)
}

// A Check is one result.
type Check struct {
	Name string `json:"check"`
	// Mode is empty for checks of both modes together.
	Mode  entitlement.Mode `json:"mode,omitempty"`
	State State            `json:"state"`
	// Text is the finding, Next the next step; Next is empty if the check is ok.
	Text string `json:"text"`
	Next string `json:"next,omitempty"`
}

// A Report is all checks, in reading order.
type Report struct {
	// State is the worst state of all checks.
	State  State   `json:"state"`
	Checks []Check `json:"checks"`
}

func (r *Report) add(checks ...Check) {
	for _, c := range checks {
		r.Checks = append(r.Checks, c)
		if c.State.worse(r.State) {
			r.State = c.State
		}
	}
}

// found adds a finding that is not ok, with its next step. The first one replaces the text of the
// ok state.
func (c *Check) found(s State, text, next string) {
	if c.State == OK {
		c.Text = ""
	}
	if s.worse(c.State) {
		c.State = s
	}
	c.Text = phrases(c.Text, text)
	if !strings.Contains(c.Next, next) {
		c.Next = phrases(c.Next, next)
	}
}

func phrases(before, more string) string {
	if before == "" {
		return more
	}
	return before + "; " + more
}

// Config configures [Examine]. Fields without a default are required.
type Config struct {
	NATS  *nats.Conn
	Modes []entitlement.Mode
	// Topology, MaxBody (bytes), Marks and CoverageEvery are the daemons' settings.
	Topology      topology.Options
	MaxBody       int64
	Marks         stripeevent.Types
	CoverageEvery time.Duration
	// Monitor is the URL of the monitoring port of the connected server, for servers that do not
	// answer over the connection, or [NoMonitor]. Defaults to port 8222 of the server.
	Monitor string
	// Gateways are the URLs of the admin listeners of gateways, which should be of this Version.
	Gateways []string
	Version  string
	// Stripe configures the requests to Stripe. Nil sends none.
	Stripe *stripeapi.Config
	// Now is this machine's clock. Defaults to time.Now.
	Now func() time.Time
	// Timing has the pause before a second look at the same customers. Defaults to
	// [timing.Production].
	Timing timing.Timing
}

// within bounds each request to NATS.
const within = 5 * time.Second

// Examine makes all checks. A check that cannot be made says so.
func Examine(ctx context.Context, cfg Config) Report {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timing == (timing.Timing{}) {
		cfg.Timing = timing.Production
	}
	if cfg.Monitor == "" {
		cfg.Monitor = monitorOf(cfg.NATS.ConnectedUrl())
	}
	r := Report{State: OK}
	r.add(connection(cfg.NATS))
	r.add(user(ctx, cfg.NATS))
	r.add(payload(cfg.NATS.MaxPayload(), cfg.MaxBody))
	seen := look(ctx, cfg)
	r.add(natsServers(cfg, seen)...)
	js, err := jetstream.New(cfg.NATS)
	if err != nil {
		r.add(Check{Name: "topology", State: Fail, Text: err.Error(), Next: "this is a bug in this command"})
		return r
	}
	usable, denied, check := drift(ctx, js, cfg)
	r.add(check)
	r.add(mirrors(ctx, cfg.NATS))
	if usable {
		r.add(logs(ctx, js, cfg, seen.fleet)...)
	}
	if !denied {
		r.add(replicas(ctx, js, cfg)...)
		r.add(contents(ctx, cfg, lookEvery)...)
	}
	for _, m := range cfg.Modes {
		r.add(syncers(ctx, cfg.NATS, m))
		if usable {
			r.add(work(ctx, js, cfg, m)...)
		}
	}
	r.add(gateways(ctx, cfg)...)
	if cfg.Stripe != nil {
		r.add(stripe(ctx, cfg, readingOf)...)
	}
	return r
}

// Unreachable is the report when there is no connection.
func Unreachable(err error, next string) Report {
	r := Report{State: OK}
	r.add(Check{Name: "nats", State: Fail, Text: err.Error(), Next: next})
	return r
}

// drift compares the topology. usable reports that the other checks are possible, denied that this
// user may not look.
func drift(ctx context.Context, js jetstream.JetStream, cfg Config) (usable, denied bool, c Check) {
	c = Check{Name: "topology", State: OK}
	o := cfg.Topology
	o.Modes = cfg.Modes
	assets := topology.All(o)
	findings, err := topology.Check(ctx, js, assets)
	if err == nil && slices.ContainsFunc(findings, func(f topology.Finding) bool { return f.Missing }) {
		err = topology.Whole(ctx, js)
	}
	if e, ok := errors.AsType[topology.NotWholeError](err); ok {
		c.State, c.Text, c.Next = Fail, e.Problem(), e.Next()
		return false, false, c
	}
	if err != nil {
		c.State, c.Text = Fail, err.Error()
		c.Next = "check that the streams have a leader; see the lines about the servers"
		if _, denied = errors.AsType[*topology.DeniedError](err); denied {
			c.Next = "run this as a NATS user who may look at the streams, ops of nats.conf for one"
		}
		return false, denied, c
	}
	var list []string
	missing, next := false, ""
	for _, f := range findings {
		if f.Missing {
			missing = true
			list = append(list, f.Asset+": missing")
			continue
		}
		for _, d := range f.Differences {
			list = append(list, d.String())
			if d.Field == "compression" && !d.InPlace {
				next = "; " + compressed
			}
		}
	}
	if len(list) == 0 {
		c.Text = fmt.Sprintf("%d streams, buckets and consumers are as they must be", len(assets))
		return true, false, c
	}
	c.State, c.Text = Fail, strings.Join(list, "; ")
	mode := "" // by default the command covers all modes in use, as this check did
	if len(cfg.Modes) == 1 {
		mode = " --mode " + string(cfg.Modes[0])
	}
	c.Next = fmt.Sprintf("`entitled topology%s` shows it and `entitled topology apply%[1]s` mends what can be mended "+
		"in place; REPLICAS and EVENTS_MAX_AGE must be as the daemons have them", mode) + next
	return !missing, false, c
}

// compressed explains how to end the compression of a replicated stream.
const compressed = "a replicated stream that is compressed is lost when one server is killed (nats-server 2.15), and " +
	"an update does not help: " +
	topology.ByRestore

// age formats a maximum age as in the settings.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "none"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// ago returns how long ago t was, in one unit: 12s, 5m, 3h, 2d.
func ago(t, now time.Time) string { return span(now.Sub(t)) }

func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return "under 1s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

func customers(n uint64) string { return count(int(n), "customer") }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
