package ingestd

import (
	"fmt"
	"strings"

	"entitled/internal/daemon"
)

// SecretsHint describes STRIPE_WEBHOOK_SECRETS.
const SecretsHint = "the signing secret of your webhook endpoint, whsec_…; several are separated by commas"

const secretPrefix = "whsec_"

// Secrets parses STRIPE_WEBHOOK_SECRETS. A value that is not a signing secret would make ingest
// refuse every webhook without a visible reason, so Secrets refuses it, says what it is, and never
// prints it.
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

// notSecret returns why a value cannot be a signing secret, and the next step; "" if it can be one.
func notSecret(value string) (reason, hint string) {
	bare := strings.Trim(value, "\"'`")
	rest, signing := strings.CutPrefix(bare, secretPrefix)
	switch {
	case strings.HasPrefix(bare, "sk_"), strings.HasPrefix(bare, "rk_"):
		return "is a key of Stripe's API, not a signing secret",
			"it belongs in STRIPE_API_KEY of the syncer; ingest needs none. Set " + SecretsHint
	case strings.HasPrefix(bare, "pk_"):
		return "is a publishable key of Stripe's API, not a signing secret", "entitled needs none. Set " + SecretsHint
	case bare != value && signing:
		return "is in quotes, which would be part of the secret",
			"remove the quotes: env files and service managers do not always remove them"
	case !signing:
		return "does not begin with " + secretPrefix, SecretsHint
	case rest == "" || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "is incomplete, or has a blank in it",
			"copy it again from the page of your webhook endpoint in Stripe; several are separated by commas"
	}
	return "", ""
}
