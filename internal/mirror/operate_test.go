package mirror

import "testing"

func TestCrowded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		has, most int
		want      bool
	}{{7999, 10_000, false}, {8000, 10_000, true}, {10_000, 10_000, true}, {10_000, -1, false}, {0, 10_000, false}} {
		if got := (Standing{Consumers: c.has, MaxConsumers: c.most}).Crowded(); got != c.want {
			t.Errorf("%d of %d: %t", c.has, c.most, got)
		}
	}
}
