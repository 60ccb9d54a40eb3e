package syncer

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// garbage are records that do not decode, some of them only in part.
var garbage = []string{"garbage", "", `[]`, `{"revision":7,"events_seq":"9"}`,
	`{"events_seq":9,"revision":7,"received_at":"yesterday"}`}

// garble makes something that does not decode the customer's latest record.
func (r *rig) garble(c stripeevent.Customer, body string) {
	r.t.Helper()
	if _, err := r.js.Publish(r.t.Context(), stripeevent.SyncedSubject(c), []byte(body)); err != nil {
		r.t.Fatal(err)
	}
}

// A record that does not decode counts as none, no part of it is used, and it is reported once.
func TestUnreadableRecordIsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	var log bytes.Buffer
	s := r.operator(func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }).s.store
	c := r.customer()
	for _, body := range garbage {
		r.garble(c, body)
		log.Reset()
		for range 3 {
			got, err := s.LatestRecord(t.Context(), c)
			if diff := cmp.Diff(record.Head{}, got); diff != "" || err != nil {
				t.Errorf("%q is taken for a record (-want +got): %s %v", body, diff, err)
			}
		}
		if n := strings.Count(log.String(), c.ID); n != 1 {
			t.Errorf("%q is said %d times, want once: %s", body, n, &log)
		}
	}
}

// A customer with an unreadable record is synced once more, and coverage goes on with the others.
func TestUnreadableRecordHoldsUpNobody(t *testing.T) {
	t.Parallel()
	// Often enough that an event too young for the first run is seen by the next.
	r := newRig(t, func(cfg *Config) { cfg.CoverageEvery = time.Second })
	broken, innocent := r.customer(), r.customer()
	r.garble(broken, garbage[3])
	// Both have lost their markers.
	for _, c := range []stripeevent.Customer{broken, innocent} {
		r.subscribe(c)
		r.event(c)
	}
	r.start()
	for _, c := range []stripeevent.Customer{broken, innocent} {
		r.await(c, "active", status("active"))
	}
	r.awaitIdle()
	r.recorded(broken)

	r.garble(broken, garbage[0])
	r.mark(broken)
	r.awaitIdle()
	r.recorded(broken)
}

// A backfill writes over it too, and ends.
func TestBackfillOverUnreadableRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(6)
	for i, body := range garbage {
		r.garble(ours(ids[i]), body)
	}
	if _, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	r.right("", ids)
	for _, id := range ids {
		r.recorded(ours(id))
	}
}

// recorded checks that the customer's latest record has its snapshot.
func (r *rig) recorded(c stripeevent.Customer) {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.SyncedStream)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(r.t.Context(), stripeevent.SyncedSubject(c))
	if err != nil {
		r.t.Fatal(err)
	}
	var rec record.Record
	if err := json.Unmarshal(m.Data, &rec); err != nil {
		r.t.Fatalf("latest record of %s: %v", c, err)
	}
	if s, revision, _ := r.snapshot(c); rec.Snapshot == nil || rec.Revision != revision || !rec.Snapshot.Equal(&s) {
		r.t.Errorf("latest record %s, want one with the snapshot of revision %d", rec.Encode(), revision)
	}
}
