package dev

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	list := []time.Duration{5, 1, 4, 2, 3}
	if p50, p99 := quantile(list, 0.5), quantile(list, 0.99); p50 != 3 || p99 != 5 {
		t.Errorf("p50 %d, p99 %d of %v", p50, p99, list)
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of nothing")
	}
}
