package gatewayd

import (
	"entitled/internal/checkout"
	"entitled/internal/daemon"
	"entitled/internal/gateway"
)

const writeKeyHint = "a restricted key from the API keys page of Stripe, rk_live_… or rk_test_…, that may write " +
	"customers, checkout sessions and portal sessions and read prices"

// checkout parses what writes to Stripe; nil without a key. It never prints the key.
func (s Settings) checkout(c *daemon.Checker, cfg gateway.Config) *checkout.Checkout {
	if s.WriteKey == "" {
		return nil
	}
	base := c.URL("STRIPE_API_BASE", s.StripeBase, "https", "http")
	mode, ok := checkout.ModeOf(s.WriteKey)
	switch {
	case !ok:
		c.Problem("STRIPE_WRITE_KEY", "not a key of Stripe's API", writeKeyHint)
	case mode != cfg.Mode:
		c.Problem("STRIPE_WRITE_KEY", "its mode is "+string(mode)+", and MODE is "+string(cfg.Mode),
			"a key of the same mode")
	case base != nil && base.Scheme == "http" && mode == "live" && !loopback(base.Hostname()):
		c.Problem("STRIPE_API_BASE", "the live key would travel unencrypted", "use https")
	case len(cfg.Origins) == 0:
		c.Problem("GATEWAY_ORIGINS", "missing with STRIPE_WRITE_KEY: pages return to these only", originHint)
	default:
		return checkout.New(checkout.Config{Mode: mode, Key: s.WriteKey, Base: s.StripeBase, Origins: cfg.Origins})
	}
	return nil
}
