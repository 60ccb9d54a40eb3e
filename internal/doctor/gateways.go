package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entitled/internal/probe"
)

// viewLate is the age of a gateway's view from which its answers say stale_since.
const viewLate = 10 * time.Second

// gateways asks each gateway of the settings.
func gateways(ctx context.Context, cfg Config) (checks []Check) {
	for _, admin := range cfg.Gateways {
		h, err := probe.Ask(ctx, admin)
		checks = append(checks, gateway(cfg, admin, h, err))
	}
	return checks
}

func gateway(cfg Config, admin string, h probe.Health, err error) Check {
	c := Check{Name: "gateway", State: OK}
	if err != nil {
		c.State, c.Text = Fail, fmt.Sprintf("%s: %v", admin, err)
		c.Next = "GATEWAY_ADMIN names the gateways' ADMIN_ADDR; start the gateway, or look at its log"
		return c
	}
	c.Text = fmt.Sprintf("%s is ready, has the bucket of mode %s, and is of this version", admin, h.Mode)
	if h.NotReady != "" {
		c.found(Fail, fmt.Sprintf("%s is not ready: %s", admin, h.NotReady), "its log says why")
	}
	if !slices.Contains(cfg.Modes, h.Mode) {
		c.found(Fail, fmt.Sprintf("%s serves mode %s, which is not looked at here", admin, h.Mode),
			"give the gateway the MODE of the syncers")
	}
	if h.Read && h.Age > viewLate {
		c.found(Fail, fmt.Sprintf("%s last had the whole bucket %s ago, and says stale_since", admin, span(h.Age)),
			"look at its connection to NATS, and at the line apps")
	}
	if h.Version != cfg.Version {
		c.found(Warn, fmt.Sprintf("%s is of version %s, and this command of %s", admin, h.Version, cfg.Version),
			"run one version everywhere")
	}
	return c
}
