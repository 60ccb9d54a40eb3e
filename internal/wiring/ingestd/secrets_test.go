package ingestd

import (
	"strings"
	"testing"

	"entitled/internal/daemon"
)

// All values that are not signing secrets are refused together, named and not printed.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"whsec_hush":                nil,
		" whsec_hush , whsec_hush2": nil,
		"":                          {"missing"},
		"whsec_hush,":               {"number 2 of 2 is empty"},
		"hush":                      {"number 1 of 1 does not begin with whsec_"},
		"sk_test_hush":              {"number 1 of 1 is a key of Stripe's API"},
		"whsec_a,rk_live_hush":      {"number 2 of 2 is a key of Stripe's API"},
		"pk_test_hush":              {"number 1 of 1 is a publishable key"},
		`"sk_live_hush"`:            {"is a key of Stripe's API"},
		`"whsec_hush"`:              {"number 1 of 1 is in quotes"},
		"'whsec_hush'":              {"number 1 of 1 is in quotes"},
		`"whsec_hush,whsec_hush2"`:  {"number 1 of 2 is in quotes", "number 2 of 2 is in quotes"},
		"whsec_":                    {"is incomplete"},
		"whsec_hush whsec_hush2":    {"has a blank in it"},
		"WHSEC_hush":                {"does not begin with whsec_"},
		"hush,sk_test_hush,'whsec_hush',whsec_b": {"number 1 of 4 does not", "number 2 of 4 is a key",
			"number 3 of 4 is in quotes"},
	} {
		c := daemon.Checker{Program: "test"}
		Secrets(&c, value)
		err := c.Err()
		if len(want) == 0 {
			if err != nil {
				t.Errorf("%q: %v", value, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%q is taken", value)
			continue
		}
		text := err.Error()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q: want %q in\n%s", value, w, text)
			}
		}
		if strings.Contains(text, "hush") || strings.Count(text, "hint: ") != len(want) {
			t.Errorf("%q: a secret, or not %d problems with a hint each, in\n%s", value, len(want), text)
		}
	}
}
