package tell

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "<1 ms", 999 * time.Microsecond: "<1 ms", 42 * time.Millisecond: "42 ms", 1500 * time.Millisecond: "1.5 s",
		42 * time.Second: "42 s", 3 * time.Minute: "3 minutes", 36 * time.Hour: "36 hours",
		80 * time.Hour: "3 days", 800 * 24 * time.Hour: "2 years",
	} {
		if got := Short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
