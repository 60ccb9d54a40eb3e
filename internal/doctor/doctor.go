// Package doctor checks everything that an operator of the pipeline would: the connection to NATS and the user's
// permissions, how durable and how well the server is, the topology, what waits and what is parked, whether every event has led to a sync, the
// jobs, the clocks, and what the key for Stripe may do.
//
// The common path: connect, [Examine], print the [Report].
//
// It writes nothing to NATS and to Stripe. Each [Check] is ok, warn (it works, and somebody should look) or fail (it does
// not work, or something may be lost) and says what to do next. Limits: clocks are compared with that of
// the machine it runs on, silence of webhooks can have innocent reasons, and what a server syncs to its disk, and whether it still can write there, shows
// on its monitoring port only, and of the server connected to.
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
	"entitled/internal/topology"
)

// A State is how a check came out.
type State string

const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// A Check is one thing that was looked at.
type Check struct {
	Name string `json:"check"`
	// Mode is empty for what the modes share.
	Mode  entitlement.Mode `json:"mode,omitempty"`
	State State            `json:"state"`
	// Text says what was found, Next what to do about it; Next is empty if all is well.
	Text string `json:"text"`
	Next string `json:"next,omitempty"`
}

// A Report is all checks, in the order in which to read them.
type Report struct {
	// State is the worst of the checks'.
	State  State   `json:"state"`
	Checks []Check `json:"checks"`
}

func (r *Report) add(checks ...Check) {
	for _, c := range checks {
		r.Checks = append(r.Checks, c)
		if c.State == Fail || c.State == Warn && r.State != Fail {
			r.State = c.State
		}
	}
}

// Config is what to look at. Fields without a default are required.
type Config struct {
	NATS  *nats.Conn
	Modes []entitlement.Mode
	// Topology, MaxBody (bytes), Marks and CoverageEvery are as the daemons have them.
	Topology      topology.Options
	MaxBody       int64
	Marks         stripeevent.Types
	CoverageEvery time.Duration
	// Monitor is the URL of the NATS server's monitoring port.
	Monitor string
	// Stripe is the syncer's way to Stripe. Nil: Stripe is not asked.
	Stripe *stripeapi.Config
	// Now is the clock of this machine. Defaults to time.Now.
	Now func() time.Time
}

// within bounds each question to NATS.
const within = 5 * time.Second

// Examine looks at everything. What cannot be looked at is a check that says so.
func Examine(ctx context.Context, cfg Config) Report {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := Report{State: OK}
	r.add(connection(cfg.NATS))
	r.add(user(ctx, cfg.NATS))
	r.add(payload(cfg.NATS.MaxPayload(), cfg.MaxBody))
	r.add(monitored(ctx, cfg)...)
	js, err := jetstream.New(cfg.NATS)
	if err != nil {
		r.add(Check{Name: "topology", State: Fail, Text: err.Error(), Next: "this is a defect of the tool"})
		return r
	}
	usable, check := drift(ctx, js, cfg)
	r.add(check)
	if usable {
		r.add(logLimits(ctx, js, cfg.Now()))
	}
	for _, m := range cfg.Modes {
		r.add(syncers(ctx, cfg.NATS, m))
		if usable {
			r.add(work(ctx, js, cfg, m)...)
		}
	}
	if cfg.Stripe != nil {
		r.add(stripe(ctx, cfg)...)
	}
	return r
}

// Unreachable is the report when there is no connection.
func Unreachable(err error, next string) Report {
	r := Report{State: OK}
	r.add(Check{Name: "nats", State: Fail, Text: err.Error(), Next: next})
	return r
}

// drift compares the topology. usable says that the rest can be looked at.
func drift(ctx context.Context, js jetstream.JetStream, cfg Config) (usable bool, c Check) {
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
		return false, c
	}
	if err != nil {
		c.State, c.Text = Fail, err.Error()
		c.Next = "run this as a NATS user who may look at the streams, ops of nats.conf for one, on a server with JetStream"
		return false, c
	}
	var list []string
	missing := false
	for _, f := range findings {
		if f.Missing {
			missing = true
			list = append(list, f.Asset+": missing")
			continue
		}
		for _, d := range f.Differences {
			list = append(list, d.String())
		}
	}
	if len(list) == 0 {
		c.Text = fmt.Sprintf("%d streams, buckets and consumers are as they must be", len(assets))
		return true, c
	}
	c.State, c.Text = Fail, strings.Join(list, "; ")
	mode := "" // by default the tool looks at all modes that are in use, as this did
	if len(cfg.Modes) == 1 {
		mode = " --mode " + string(cfg.Modes[0])
	}
	c.Next = fmt.Sprintf("`entitled topology%s` shows it and `entitled topology apply%[1]s` mends it; REPLICAS and EVENTS_MAX_AGE must be as the daemons have them", mode)
	return !missing, c
}

// logLimits looks for limits that the topology leaves to the operator, and that keep less of the log than one expects.
func logLimits(ctx context.Context, js jetstream.JetStream, now time.Time) Check {
	c := Check{Name: "log limits", State: OK, Text: "none on the size of STRIPE_EVENTS and STRIPE_SYNCED: EVENTS_MAX_AGE alone says what they keep"}
	limits, err := topology.LogLimits(ctx, js)
	if err != nil {
		c.State, c.Text = Fail, "not looked at: "+err.Error()
		c.Next = "run this as a NATS user who may look at the streams, ops of nats.conf for one"
		return c
	}
	if len(limits) == 0 {
		return c
	}
	c.State = Warn
	var texts, edits []string
	for _, l := range limits {
		texts = append(texts, limitText(l, now))
		edits = append(edits, fmt.Sprintf("`nats stream edit %s --%s=-1`", l.Stream, strings.ReplaceAll(l.Field, "_", "-")))
		if l.Full && l.Refuses {
			c.State = Fail
		}
	}
	c.Text = strings.Join(texts, "; ")
	c.Next = strings.Join(edits, ", ") + " takes it away, a larger number widens it; where the disk is too small, EVENTS_MAX_AGE is the one to lower"
	return c
}

func limitText(l topology.LogLimit, now time.Time) string {
	lost := map[string]string{topology.EventsStream: "webhooks are answered 503", topology.SyncedStream: "no sync can end"}[l.Stream]
	text := fmt.Sprintf("%s has %d of %s %d (%d %%)", l.Stream, l.Has, l.Field, l.Limit, l.Has*100/l.Limit)
	if !l.Oldest.IsZero() {
		text += ", the oldest from " + ago(l.Oldest, now) + " ago"
	}
	switch {
	case l.Full && l.Refuses:
		return text + ": it is full and takes no more: " + lost
	case l.Full:
		return text + ": it is full and drops the oldest for each that comes, whatever EVENTS_MAX_AGE (" + age(l.MaxAge) + ") promises"
	case l.Refuses:
		return text + ": once full it takes no more, and " + lost
	}
	return text + ": once full it drops the oldest, whatever EVENTS_MAX_AGE (" + age(l.MaxAge) + ") promises"
}

// age is a limit of age as one sets it.
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

// ago is how long ago t was, in the largest unit that is whole to the reader: 12s, 5m, 3h, 2d.
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
