package protocol

import (
	"os"
	"runtime/debug"
	"testing"
)

// The checker allocates a lot and keeps little, so a larger heap saves a tenth of its time.
func TestMain(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	m.Run()
}

// deepen grows the stack of a new goroutine at once. Most of the checker's goroutines are short,
// and the copies of their stacks as these doubled took a tenth of its time.
//
//go:noinline
func deepen() byte {
	var frame [12 << 10]byte
	return frame[os.Getpagesize()]
}

// roomy is the default of Together with deep stacks.
func roomy(calls ...func()) {
	deep := make([]func(), len(calls))
	for i, call := range calls {
		deep[i] = func() { deepen(); call() }
	}
	concurrently(deep...)
}
