package syncerd

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/daemon"
	"entitled/internal/plans"
)

// Replaced are the settings of earlier versions that the plans document has replaced. A program that
// is given one of them refuses to start: without the document that says the same, it would take
// access or features from customers.
type Replaced struct {
	Features string        `name:"features" env:"FEATURES" hidden:""`
	Grace    string        `name:"past-due-grace" env:"PAST_DUE_GRACE" hidden:""`
	Adopt    daemon.Switch `name:"adopt-policy" env:"ADOPT_POLICY" hidden:""`
}

const (
	replaced = "replaced by the plans document"
	then     = "`entitled plans apply FILE` puts it in force; then remove the setting"
)

// Check reports each of the settings that is set, with the line of the document that says the same.
func (r Replaced) Check(c *daemon.Checker) {
	if r.Features != "" {
		line := fmt.Sprintf("stripe_entitlements: %t", r.Features == "entitlements")
		c.Problem("FEATURES", replaced, fmt.Sprintf("write the line `%s` into FILE: %s", line, then))
	}
	if r.Grace != "" {
		c.Problem("PAST_DUE_GRACE", replaced, fmt.Sprintf("write the line `access: {past_due: %s}` into FILE: %s",
			pastDue(r.Grace), then))
	}
	if r.Adopt != "" {
		c.Problem("ADOPT_POLICY", replaced, "remove the setting: `entitled plans apply FILE` puts a document in force "+
			"for all syncers")
	}
}

// pastDue returns the rule of a plans document for a grace period, that of the default if it cannot
// be read.
func pastDue(grace string) string {
	// The setting had days in front: 90d, 1d12h.
	text := strings.TrimSpace(grace)
	var rule plans.Rule
	if rule.UnmarshalText([]byte(text)) == nil {
		return text
	}
	if d, err := time.ParseDuration(text); err == nil {
		return plans.Rule(d / time.Second).String()
	}
	return plans.DefaultRule("past_due").String()
}
