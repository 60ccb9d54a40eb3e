package ingest

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// For Prometheus a counter that appears with 1 has not increased, so counters with alerts exist
// from the start.
func TestCountersAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, want := range map[string]int{
		"webhooks_total": 3 * (len(knownTypes) + 1),
		"refused_total":  len(answers) - 2, // not_stored and internal_error are counted elsewhere
		"odd_total":      6,
		"unmarked_total": 5,
		"panics_total":   1,
	} {
		if got, err := testutil.GatherAndCount(b.registry, "entitled_ingest_"+name); got != want || err != nil {
			t.Errorf("%s has %d series at the start, want %d (error %v)", name, got, want, err)
		}
	}
	problems, err := testutil.GatherAndLint(b.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
