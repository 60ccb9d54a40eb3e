package ingestd

import (
	"fmt"
	"strings"

	"entitled/internal/daemon"
)

// SecretsHint says what STRIPE_WEBHOOK_SECRETS is.
const SecretsHint = "the signing secret of your webhook endpoint, whsec_…; several are separated by commas"

const secretPrefix = "whsec_"

// Secrets reads STRIPE_WEBHOOK_SECRETS. What is no signing secret is named for what it is, and never printed: with it every
// webhook would be refused, and nothing else would say why.
func Secrets(c *daemon.Checker, value string) []string {
	const setting = "STRIPE_WEBHOOK_SECRETS"
	list := c.Secrets(setting, value, SecretsHint)
	for i, secret := range list {
		if reason, hint := notSecret(secret); reason != "" {
			c.Problem(setting, fmt.Sprintf("number %d of %d %s", i+1, len(list), reason), hint)
		}
	}
	return list
}

// notSecret says why Stripe can have signed nothing with a value, and what to do; nothing if it can have.
func notSecret(value string) (reason, hint string) {
	bare := strings.Trim(value, "\"'`")
	rest, signing := strings.CutPrefix(bare, secretPrefix)
	switch {
	case strings.HasPrefix(bare, "sk_"), strings.HasPrefix(bare, "rk_"):
		return "is a key of Stripe's API, not a signing secret",
			"it belongs in STRIPE_API_KEY of the syncer; ingest needs none. Here goes " + SecretsHint
	case strings.HasPrefix(bare, "pk_"):
		return "is a publishable key of Stripe's API, not a signing secret", "entitled needs none. Here goes " + SecretsHint
	case bare != value && signing:
		return "is in quotes, which would be part of the secret", "write it without: env files and service managers do not always take quotes away"
	case !signing:
		return "does not begin with " + secretPrefix, SecretsHint
	case rest == "" || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "is not whole, or has a blank in it", "copy it again from the page of your webhook endpoint in Stripe; several are separated by commas"
	}
	return "", ""
}
