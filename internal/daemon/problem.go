package daemon

import (
	"fmt"
	"strings"
)

// A Problem is one setting that needs attention. Neither text may hold a secret value.
type Problem struct {
	Setting string // the environment variable; empty for a fault of the command line itself
	Reason  string
	Hint    string // what to do, as a phrase
}

// SettingsError lists all settings that need attention. [Main] prints it and exits with 2.
type SettingsError struct {
	Program  string
	Problems []Problem
}

// Error is a text for people, of several lines, ending in a newline.
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

// FlagOf is the flag that goes with an environment variable: --nats-url with NATS_URL.
func FlagOf(setting string) string {
	return "--" + strings.ReplaceAll(strings.ToLower(setting), "_", "-")
}
