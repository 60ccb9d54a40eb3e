package record

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement/snapshot"
)

// A record with a snapshot is what encoding/json makes of it, and its head is that of all its fields.
func TestEncodesAsEncodingJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, text := range []string{"", "a", `,"cause":{`, `,"snapshot":{`, `\`, "<é>"} {
		r := Record{
			Trigger: text, Event: text, EventsSeq: 9, MarkerSeq: 7, Revision: 3, ReceivedAt: &at, Outcome: Changed,
			StripeRequestIDs: []string{text}, Changed: []string{text, "b"}, Error: text,
			Snapshot: &snapshot.Snapshot{Schema: 1, Customer: text, Metadata: map[string]string{text: text}},
			Cause:    snapshot.Cause{Trigger: text},
		}
		if got, want := r.Encode(), JSON(r); !bytes.Equal(got, want) {
			t.Errorf("encoded as\n%s, want\n%s", got, want)
		}
		h, ok := DecodeHead(r.Encode())
		if want := (Head{EventsSeq: 9, Revision: 3, MarkerSeq: 7, ReceivedAt: &at}); !ok || !cmp.Equal(want, h) {
			t.Errorf("head %+v, want %+v", h, want)
		}
	}
	for _, foreign := range []string{
		`{"a":{"b":1,"snapshot":{}},"revision":3}`, `{"snapshot":{"revision":5},"revision":3}`,
		`{"a":1,"revision":3,"snapshot":{},"x":{}}`,
	} {
		if h, ok := DecodeHead([]byte(foreign)); !ok || h.Revision != 3 {
			t.Errorf("%s has head %+v", foreign, h)
		}
	}
}

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
