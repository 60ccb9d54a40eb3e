package repeats

import (
	"testing"

	"entitled/internal/stripeevent"
)

func TestRepeats(t *testing.T) {
	t.Parallel()
	r := Events{limit: 2}
	for i, step := range []struct {
		id   string
		seen bool
	}{
		{"evt_1", false}, {"evt_1", true}, {"evt_2", false}, {"evt_1", true},
		{"evt_3", false}, {"evt_2", true}, {"evt_1", false}, // forgotten: evt_1 was the oldest of three
		{"", false}, {"", false},
	} {
		if got := r.Seen(stripeevent.Customer{}, step.id); got != step.seen {
			t.Errorf("step %d, %q: seen %v, want %v", i, step.id, got, step.seen)
		}
	}
	if r.Seen(stripeevent.Customer{Account: "acct_1"}, "evt_1") {
		t.Error("the same id of another account counts as a repeat")
	}
	if len(r.known) > 2 {
		t.Errorf("%d ids are held, want 2", len(r.known))
	}
}
