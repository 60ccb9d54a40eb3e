package tell

import (
	"flag"
	"testing"

	"entitled/internal/daemon/daemontest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	daemontest.Golden(t, name, got, *update)
}
