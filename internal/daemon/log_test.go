package daemon

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// A reader of the log need not know that Go's durations are nanoseconds.
func TestLogOfAPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	NewLog(w).With("every", time.Minute).Warn("sync failed", "delay", 769*time.Millisecond)
	w.Close()
	line, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"delay":"769ms"`, `"every":"1m0s"`, `"level":"WARN"`} {
		if !strings.Contains(string(line), want) {
			t.Errorf("%slacks %s", line, want)
		}
	}
}
