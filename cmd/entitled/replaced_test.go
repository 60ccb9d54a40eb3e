package main

import (
	"strings"
	"testing"
)

// Each program that took a setting which the plans document has replaced refuses it, by variable and
// by flag, and names the command and the line that say the same.
func TestReplacedSettings(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("settings are read in one goroutine")
	}
	for _, command := range []string{"dev", "backfill", "sweep", "recover", "explain cus_1 --check", "doctor"} {
		for _, c := range []struct {
			variable, flag, value, line string
		}{
			{"FEATURES", "--features", "entitlements", "`stripe_entitlements: true`"},
			{"FEATURES", "--features", "off", "`stripe_entitlements: false`"},
			{"PAST_DUE_GRACE", "--past-due-grace", "72h", "`access: {past_due: 72h}`"},
			{"PAST_DUE_GRACE", "--past-due-grace", "1h30m", "`access: {past_due: 1h30m}`"},
			{"PAST_DUE_GRACE", "--past-due-grace", "0", "`access: {past_due: deny}`"},
			{"ADOPT_POLICY", "--adopt-policy", "true", ""},
		} {
			args := strings.Fields(command)
			env := map[string]string{"STRIPE_API_KEY": "rk_test_x", "STRIPE_WEBHOOK_SECRETS": "whsec_x"}
			byFlag := append(args, c.flag+"="+c.value)
			if c.variable == "ADOPT_POLICY" {
				byFlag = append(args, c.flag)
			}
			code, _, errs := entitled(t, env, byFlag...)
			env[c.variable] = c.value
			byVariable, _, errsToo := entitled(t, env, args...)
			if errs != errsToo {
				t.Errorf("%s: by flag\n%sby variable\n%s", command, errs, errsToo)
			}
			if code != 2 || byVariable != 2 {
				t.Errorf("%s %s=%s: exit codes %d, %d", command, c.variable, c.value, code, byVariable)
			}
			for _, want := range []string{c.variable, "`entitled plans apply FILE`", c.line} {
				if !strings.Contains(errs, want) {
					t.Errorf("%s %s=%s: no %s in\n%s", command, c.variable, c.value, want, errs)
				}
			}
		}
	}
}
