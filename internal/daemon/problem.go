package daemon

import (
	"fmt"
	"strings"
)

// A Problem is a setting that is not valid. Neither text may contain a secret.
type Problem struct {
	Setting string // the environment variable; empty for an error of the command line itself
	Reason  string
	Hint    string // the next step
}

// SettingsError lists all settings that are not valid. [Main] prints it and exits with 2.
type SettingsError struct {
	Program  string
	Problems []Problem
}

// Error returns a text of several lines that ends in a newline.
func (e *SettingsError) Error() string {
	var b strings.Builder
	settings := map[string]bool{}
	for _, p := range e.Problems {
		name := "command line"
		switch {
		case strings.HasPrefix(p.Setting, "OTEL_"):
			name = p.Setting // OpenTelemetry's, which have no flag
		case p.Setting != "":
			name = fmt.Sprintf("%s (%s)", p.Setting, FlagOf(p.Setting))
		}
		settings[name] = true
		fmt.Fprintf(&b, "  %s: %s\n    hint: %s\n", name, p.Reason, p.Hint)
	}
	what := "1 setting needs"
	if n := len(settings); n != 1 {
		what = fmt.Sprintf("%d settings need", n)
	} else if settings["command line"] {
		what = "the command line needs"
	}
	return fmt.Sprintf("%s: %s attention, nothing was started\n%s", e.Program, what, &b)
}

// FlagOf returns the flag of an environment variable: --nats-url for NATS_URL.
func FlagOf(setting string) string {
	return "--" + strings.ReplaceAll(strings.ToLower(setting), "_", "-")
}
