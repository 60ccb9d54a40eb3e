package stripesim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WebhookEndpoint is an HTTP endpoint that gets events.
type WebhookEndpoint struct {
	ID  string `json:"id"` // defaults to a generated id
	URL string `json:"url"`
	// Secrets sign every delivery, with one v1 signature each. Defaults to one generated secret.
	Secrets []string `json:"secrets"`
	// Connect selects the events of connected accounts instead of the platform's own.
	Connect bool `json:"connect"`
	// Livemode selects live events instead of test events. As at Stripe, a live Connect endpoint
	// gets test events too.
	Livemode bool `json:"livemode"`
	// EnabledTypes are event types, "prefix.*" or "*". Empty means all types.
	EnabledTypes []string `json:"enabled_types,omitempty"`
}

func (w *WebhookEndpoint) wants(e *event) bool {
	connected := e.world.scope.account != e.world.sim.cfg.AccountID
	if w.Connect != connected {
		return false
	}
	live := e.world.scope.live
	if w.Livemode != live && !(w.Connect && w.Livemode) {
		return false
	}
	return len(w.EnabledTypes) == 0 || matchType(w.EnabledTypes, e.kind)
}

// AddWebhookEndpoint registers an endpoint, which gets the events from now on. It returns the
// endpoint with its id and secrets.
func (s *Sim) AddWebhookEndpoint(w WebhookEndpoint) WebhookEndpoint {
	if w.ID == "" {
		w.ID = s.draw.id("we_1", 23)
	}
	if len(w.Secrets) == 0 {
		w.Secrets = []string{s.draw.id("whsec_", 32)}
	}
	s.deliveries.add(w)
	return w
}

// RemoveWebhookEndpoint removes an endpoint and gives up its pending deliveries.
func (s *Sim) RemoveWebhookEndpoint(id string) { s.deliveries.remove(id) }

// SetWebhookSecrets replaces an endpoint's secrets, as a rotation does. Every later attempt is
// signed with the new ones, also the retry of an older delivery.
func (s *Sim) SetWebhookSecrets(id string, secrets ...string) {
	s.deliveries.setSecrets(id, slices.Clone(secrets))
}

// WebhookEndpoints returns the registered endpoints.
func (s *Sim) WebhookEndpoints() []WebhookEndpoint { return s.deliveries.list() }

// Sign returns the Stripe-Signature header of a body: the time at and one v1 signature per secret.
func Sign(body []byte, at time.Time, secrets ...string) string {
	t := strconv.FormatInt(at.Unix(), 10)
	var b strings.Builder
	b.WriteString("t=" + t)
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "%s.", t)
		mac.Write(body)
		b.WriteString(",v1=" + hex.EncodeToString(mac.Sum(nil)))
	}
	return b.String()
}

// retryWaits returns the delay before each attempt after the first. Stripe documents "up to three
// days" in live mode and "three times over a few hours" in test mode, but not the single delays.
func retryWaits(live bool) []time.Duration {
	if !live {
		return []time.Duration{10 * time.Minute, time.Hour, 3 * time.Hour}
	}
	const half = 12 * time.Hour
	return []time.Duration{
		5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, half, half, half, half,
	}
}
