package tell

import (
	"bytes"
	"errors"
	"testing"

	"entitled/internal/term"
)

// An error and its hint wrap at the width of the screen, and are a line each in a file.
func TestFailure(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for _, out := range []term.Terminal{{Writer: &b, Cols: 80, Screen: true}, {Writer: &b, Cols: 60, Screen: true},
		{Writer: &b, Cols: 60}} {
		Failure(out, "entitled topology", errors.New("stream STRIPE_EVENTS is missing, but bucket entitlements_test, bucket stripe_state, stream STRIPE_SYNCED are there"),
			"restore a backup into an empty NATS with `entitled restore DIR`, or create it empty with `entitled topology apply --accept-loss`")
	}
	golden(t, "failure.txt", b.String())
}
