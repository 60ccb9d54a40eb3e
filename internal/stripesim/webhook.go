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

// WebhookEndpoint is where events are sent.
type WebhookEndpoint struct {
	ID  string `json:"id"` // drawn when empty
	URL string `json:"url"`
	// Secrets sign every delivery, one v1 signature each; several during a rotation.
	// Without any, one is drawn.
	Secrets []string `json:"secrets"`
	// Connect endpoints get the events of connected accounts, others the platform's own.
	Connect bool `json:"connect"`
	// Livemode endpoints get live events; as at Stripe, a live Connect endpoint gets test
	// events too.
	Livemode bool `json:"livemode"`
	// EnabledTypes are event types, "prefix.*" or "*". Empty means all.
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

// AddWebhookEndpoint registers an endpoint for the events from now on and returns it with
// its id and secrets.
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

// RemoveWebhookEndpoint stops deliveries to an endpoint; pending ones are given up.
func (s *Sim) RemoveWebhookEndpoint(id string) { s.deliveries.remove(id) }

// SetWebhookSecrets rotates an endpoint's secrets. Deliveries, retries too, are signed
// with the secrets of the moment.
func (s *Sim) SetWebhookSecrets(id string, secrets ...string) {
	s.deliveries.setSecrets(id, slices.Clone(secrets))
}

// WebhookEndpoints are the registered endpoints.
func (s *Sim) WebhookEndpoints() []WebhookEndpoint { return s.deliveries.list() }

// Sign makes a Stripe-Signature header: the time and one v1 per secret.
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

// retryWaits are the waits before each further attempt. Stripe says "up to three days"
// live and "three times over a few hours" in test mode; it does not publish the steps.
func retryWaits(live bool) []time.Duration {
	if !live {
		return []time.Duration{10 * time.Minute, time.Hour, 3 * time.Hour}
	}
	const half = 12 * time.Hour
	return []time.Duration{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, half, half, half, half}
}
