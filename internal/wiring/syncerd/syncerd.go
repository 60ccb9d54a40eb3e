// Package syncerd has the settings of a syncer and assembles its parts.
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
	"entitled/internal/timing"
	"entitled/internal/wiring"
)

// Settings are the settings of the syncer alone.
type Settings struct {
	Base          string `name:"stripe-api-base" env:"STRIPE_API_BASE" default:"https://api.stripe.com" help:"Where Stripe's API is."`
	Rate          string `name:"stripe-rate" env:"STRIPE_RATE" placeholder:"N" help:"Requests/s to Stripe, for all syncers of the mode together, 1 to 1000. Default: 20 live, 10 test."`
	CoverageEvery string `name:"coverage-every" env:"COVERAGE_EVERY" default:"5m" help:"How often it is checked that every event has led to a sync."`
	Replaced      `embed:""`
}

// Syncer is checked [Settings], with everything else that a syncer needs except its host.
type Syncer struct {
	Stripe stripeapi.Config
	// Mode is the mode of the key.
	Mode entitlement.Mode
	// Rate is the fleet's budget in requests per second.
	Rate float64
	// CoverageEvery is the interval of the coverage job.
	CoverageEvery time.Duration
	Shared        wiring.Shared
	// Timing has the pauses. Defaults to [timing.Production].
	Timing timing.Timing
}

// KeyHint describes STRIPE_API_KEY.
const KeyHint = "a restricted, read-only key from the API keys page of Stripe, rk_live_… or rk_test_…"

// Check parses the settings; key is STRIPE_API_KEY, which the caller has checked to be set. The
// caller sets Shared.
func (s Settings) Check(c *daemon.Checker, key string) Syncer {
	mode, err := stripeapi.ModeOf(key)
	if key != "" {
		c.Error("STRIPE_API_KEY", err, KeyHint)
	}
	checkBase(c, s.Base, mode)
	s.Replaced.Check(c)
	return Syncer{
		Mode: mode,
		Rate: float64(c.Int("STRIPE_RATE", cmp.Or(s.Rate, defaultRate(mode)), daemon.Between(1, 1000))),
		Stripe: stripeapi.Config{
			Key:  key,
			Base: s.Base,
		},
		CoverageEvery: c.Duration("COVERAGE_EVERY", s.CoverageEvery, daemon.Between(time.Second, 24*time.Hour)),
	}
}

// Run syncs until ctx ends, then takes no more work and finishes the syncs in progress.
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
		Marks:         s.Shared.Marks,
		CoverageEvery: s.CoverageEvery,
		Topology:      s.Shared.Topology,
		Timing:        s.Timing,
		Traces:        h.Traces,
		Log:           h.Log,
		Ready:         h.Ready,
	}
}

// defaultRate is four fifths of Stripe's limit for one endpoint in live mode, and less than half of
// the whole limit of a sandbox. The remainder is for the user's own application.
func defaultRate(m entitlement.Mode) string {
	if m == entitlement.Live {
		return "20"
	}
	return "10"
}

// checkBase refuses to send a live key in clear text beyond this machine. A test key may go to a
// simulator anywhere.
func checkBase(c *daemon.Checker, value string, m entitlement.Mode) {
	base := c.URL("STRIPE_API_BASE", value, "https", "http")
	if base != nil && base.Scheme == "http" && m == entitlement.Live && !loopback(base) {
		c.Problem("STRIPE_API_BASE",
			strconv.Quote(value)+": the live key would travel unencrypted", "use https, or a test key with a simulator")
	}
}

func loopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// Operate opens the store of a syncer with these settings for a command; it starts nothing.
func (s Syncer) Operate(ctx context.Context, nc *nats.Conn, log *slog.Logger) (*syncer.Operator, error) {
	sync, err := syncer.New(s.config(wiring.Host{NATS: nc, Log: log}))
	if err != nil {
		return nil, err
	}
	return sync.Operate(ctx)
}
