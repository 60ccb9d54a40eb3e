// Package syncerd is the settings of a syncer and how its parts are put together.
package syncerd

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/stripeapi"
	"entitled/internal/syncer"
	"entitled/internal/wiring"
)

// Settings are those of the syncer alone.
type Settings struct {
	Base          string        `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is."`
	Rate          string        `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"Requests/s to Stripe, for all syncers of the mode together, 1 to 1000. Default: 20 live, 10 test."`
	Features      string        `name:"features" env:"FEATURES" default:"off" help:"entitlements also reads the customers' active entitlements, one more request a sync; off does not."`
	Grace         string        `name:"past-due-grace" env:"PAST_DUE_GRACE" default:"72h" help:"How long after the start of an unpaid period a past_due subscription still grants access."`
	AdoptPolicy   daemon.Switch `name:"adopt-policy" env:"ADOPT_POLICY" default:"false" help:"Put the FEATURES and PAST_DUE_GRACE given here in force for all syncers of the mode, where others are. Give it for one start."`
	CoverageEvery string        `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"How often it is checked that every event has led to a sync."`
}

// Syncer is checked [Settings] with all that a syncer needs besides its host.
type Syncer struct {
	Stripe stripeapi.Config
	// Mode is the key's.
	Mode entitlement.Mode
	// Rate is the fleet's budget, in requests/s.
	Rate   float64
	Policy syncer.Policy
	// AdoptPolicy says to put Policy, and whether features are read, in force.
	AdoptPolicy bool
	// CoverageEvery is the interval of the coverage job.
	CoverageEvery time.Duration
	Shared        wiring.Shared
}

// KeyHint says what STRIPE_API_KEY is and where to get it.
const KeyHint = "a restricted, read-only key from the API keys page of Stripe, rk_live_… or rk_test_…"

// Check turns the settings into values; key is STRIPE_API_KEY, checked for being there. Shared is left to the caller.
func (s Settings) Check(c *daemon.Checker, key string) Syncer {
	mode, err := stripeapi.ModeOf(key)
	if key != "" {
		c.Error("STRIPE_API_KEY", err, KeyHint)
	}
	checkBase(c, s.Base, mode)
	return Syncer{
		Mode: mode,
		Rate: float64(c.Int("STRIPE_RATE", cmp.Or(s.Rate, defaultRate(mode)), daemon.Between(1, 1000))),
		Stripe: stripeapi.Config{
			Key:      key,
			Base:     s.Base,
			Features: c.OneOf("FEATURES", s.Features, "off", "entitlements") == "entitlements",
		},
		Policy:        syncer.Policy{PastDueGrace: c.Duration("PAST_DUE_GRACE", s.Grace, daemon.Between(0, 365*24*time.Hour))},
		AdoptPolicy:   c.Switch("ADOPT_POLICY", s.AdoptPolicy),
		CoverageEvery: c.Duration("COVERAGE_EVERY", s.CoverageEvery, daemon.Between(time.Second, 24*time.Hour)),
	}
}

// Run syncs until ctx ends, then takes no more work and finishes what it holds.
func (s Syncer) Run(ctx context.Context, h wiring.Host) error {
	sync, err := syncer.New(s.config(h))
	if err != nil {
		return err
	}
	h.Metrics.MustRegister(sync.Metrics()...)
	return sync.Run(ctx)
}

func (s Syncer) config(h wiring.Host) syncer.Config {
	return syncer.Config{
		NATS:          h.NATS,
		Stripe:        s.Stripe,
		Rate:          s.Rate,
		Policy:        s.Policy,
		AdoptPolicy:   s.AdoptPolicy,
		Marks:         s.Shared.Marks,
		CoverageEvery: s.CoverageEvery,
		Topology:      s.Shared.Topology,
		Traces:        h.Traces,
		Log:           h.Log,
		Ready:         h.Ready,
	}
}

// defaultRate is four fifths of what Stripe allows one endpoint in live mode, and less than half of all that it allows in a
// sandbox: the rest is for the user's own application.
func defaultRate(m entitlement.Mode) string {
	if m == entitlement.Live {
		return "20"
	}
	return "10"
}

// checkBase lets a live key travel in clear text only within the machine. A test key goes to a simulator, wherever that is.
func checkBase(c *daemon.Checker, value string, m entitlement.Mode) {
	base := c.URL("STRIPE_API_BASE", value, "https", "http")
	if base != nil && base.Scheme == "http" && m == entitlement.Live && !loopback(base) {
		c.Problem("STRIPE_API_BASE", strconv.Quote(value)+": the live key would travel unencrypted", "use https, or a test key with a simulator")
	}
}

func loopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// Operate opens what a syncer of these settings works with, for a command; nothing runs.
func (s Syncer) Operate(ctx context.Context, nc *nats.Conn, log *slog.Logger) (*syncer.Operator, error) {
	sync, err := syncer.New(s.config(wiring.Host{NATS: nc, Log: log}))
	if err != nil {
		return nil, err
	}
	return sync.Operate(ctx)
}
