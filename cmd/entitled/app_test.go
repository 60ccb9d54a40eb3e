package main

import (
	"strings"
	"testing"
)

// The user of an app may not see the streams. The error names the user that may.
func TestTopologyOfAnApp(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	for _, args := range []string{"topology", "topology --mode test", "topology apply --mode test"} {
		code, _, errs := entitled(t, g.env("app"), strings.Fields(args)...)
		if code != 1 || !strings.Contains(errs, "this NATS user may not request") ||
			!strings.Contains(errs, "hint: this command needs a NATS user") {
			t.Errorf("%s: exit code %d:\n%s", args, code, errs)
		}
	}
}
