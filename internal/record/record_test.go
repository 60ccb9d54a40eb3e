package record

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHead(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := Record{MarkerSeq: 7, EventsSeq: 9, Revision: 3, ReceivedAt: &stored, Outcome: Changed,
		Changed: []string{"<a>"}, StripeRequestIDs: []string{}}
	if !strings.Contains(string(r.Encode()), `"<a>"`) {
		t.Errorf("HTML is escaped: %s", r.Encode())
	}
	h, ok := DecodeHead(r.Encode())
	if want := (Head{EventsSeq: 9, Revision: 3, MarkerSeq: 7, ReceivedAt: &stored}); !ok || !cmp.Equal(want, h) {
		t.Errorf("head %+v, want %+v", h, want)
	}
	if h, ok := DecodeHead([]byte("[]")); ok || h != (Head{}) {
		t.Errorf("an array decodes to %+v", h)
	}
	failed := h
	failed.Revision = 0
	for _, c := range []struct {
		name   string
		head   Head
		seq    uint64
		stored time.Time
		want   bool
	}{
		{"an older marker", h, 6, stored, true},
		{"its own marker", h, 7, stored, false},
		{"a newer marker", h, 8, stored, false},
		{"a marker of a recreated stream", h, 6, stored.Add(1), false},
		{"a failed sync", failed, 6, stored, false},
		{"no record", Head{}, 0, time.Time{}, false},
	} {
		if got := c.head.Covers(c.seq, c.stored); got != c.want {
			t.Errorf("%s: covered %t, want %t", c.name, got, c.want)
		}
	}
}
