package protocol

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"entitled/entitlement/snapshot"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// The checker can find fault: each of these breaks the protocol in one place, and a course that
// shows it must be found. They are wrappers around the world that amount to the change in
// protocol.go that their comment names.

// unfenced writes whatever is there: WriteSnapshot without its revision.
type unfenced struct{ *hand }

func (u unfenced) WriteSnapshot(ctx context.Context, key string, data []byte, _ uint64) (uint64, error) {
	return u.put(ctx, key, data, 0, true)
}

// fencedLate reads the revision after the fetch: fence behind fetch.
type fencedLate struct{ *hand }

func (f fencedLate) WriteSnapshot(ctx context.Context, key string, data []byte, _ uint64) (uint64, error) {
	_, revision, err := f.Snapshot(ctx, key)
	if err != nil {
		return 0, err
	}
	return f.hand.WriteSnapshot(ctx, key, data, revision)
}

// thrifty does not write what has not changed: a return behind compare.
type thrifty struct {
	*hand
	cur *snapshot.Snapshot
}

func (h *thrifty) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	data, revision, err := h.hand.Snapshot(ctx, key)
	h.cur = nil
	if s, err := snapshot.Decode(data); err == nil {
		h.cur = &s
	}
	return data, revision, err
}

func (h *thrifty) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	if next, err := snapshot.Decode(data); err == nil && h.cur != nil && next.Equal(h.cur) {
		h.wrote = revision
		h.w.writes(ofSnapshots)
		for _, m := range h.w.markers {
			// It takes the look for the write.
			m.satisfied = m.satisfied || m.key == key && h.read.marker >= m.seq
		}
		return revision, nil
	}
	return h.hand.WriteSnapshot(ctx, key, data, revision)
}

// credulous takes "no marker" for "a newer one": superseded's newest != t.seq.
type credulous struct{ *hand }

func (c credulous) NewestMarker(ctx context.Context, subject string) (uint64, error) {
	newest, err := c.hand.NewestMarker(ctx, subject)
	if err == nil && newest == 0 {
		newest = 1 << 62
	}
	return newest, err
}

// boastful reads the end of the event log after the fetch: LastEvent behind fetch.
type boastful struct {
	*hand
	last uint64
}

func (b *boastful) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	last, err := b.LastEvent(ctx)
	b.last = last
	if err != nil {
		return 0, err
	}
	return b.hand.WriteSnapshot(ctx, key, data, revision)
}

func (b *boastful) AppendRecord(ctx context.Context, c stripeevent.Customer, rec record.Record) error {
	if rec.Revision != 0 {
		rec.EventsSeq = b.last
	}
	return b.hand.AppendRecord(ctx, c, rec)
}

// forgetful sets the wake and does not look whether another syncer wrote meanwhile: wake without
// its loop.
type forgetful struct {
	*hand
	wrote bool
}

func (f *forgetful) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	written, err := f.hand.WriteSnapshot(ctx, key, data, revision)
	f.wrote = err == nil
	return written, err
}

func (f *forgetful) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	if f.wrote {
		f.wrote = false
		return nil, 0, nil
	}
	return f.hand.Snapshot(ctx, key)
}

// A mutation breaks the protocol in one place.
type mutation struct {
	name     string
	mutate   func(*hand) Outside
	ackFirst bool
	in       scenario
	// breaks are rules that it breaks, each by a course of its own.
	breaks []string
}

func (m mutation) scenario(sc scenario, rule string) scenario {
	sc.mutate, sc.ackFirst, sc.only = m.mutate, m.ackFirst, rule
	return sc
}

// mutations returns those of a sync, and those of a decision that is made again.
func mutations() (ofSyncs, ofDecisions []mutation) {
	thereAndBack := scenario{syncers: 2, changes: [][]string{{"A", "B", "A"}}}
	once := scenario{syncers: 2, changes: [][]string{{"A"}}, crashes: 1, lags: 1}
	twice := scenario{syncers: 2, changes: [][]string{{"A", "B"}}, lags: 1}
	applied := scenario{syncers: 1, changes: [][]string{{"A", "B"}}, documents: 2}
	created := scenario{syncers: 1, changes: [][]string{{"A"}}, documents: 1}

	ofSyncs = []mutation{
		{"the fence is removed", func(h *hand) Outside { return unfenced{h} }, false, thereAndBack,
			[]string{"I3", "I6"}},
		{"the revision is read after the fetch", func(h *hand) Outside { return fencedLate{h} }, false,
			thereAndBack, []string{"I3", "I6"}},
		{"an unchanged state is not written", func(h *hand) Outside { return &thrifty{hand: h} }, false,
			thereAndBack, []string{"I6"}},
		{"the ack comes before the write", nil, true, once, []string{"I2", "I6"}},
		{"a marker that is not found is dropped", func(h *hand) Outside { return credulous{h} }, false, twice,
			[]string{"I2", "I6"}},
		{"the end of the log is read after the fetch", func(h *hand) Outside { return &boastful{hand: h} }, false,
			thereAndBack, []string{"coverage"}},
		{"the wake is set without a second look", func(h *hand) Outside { return &forgetful{hand: h} }, false,
			thereAndBack, []string{"wake"}},
	}
	ofDecisions = []mutation{
		{"a decision is made under an older document", func(h *hand) Outside { return &outdated{hand: h} }, false,
			applied, []string{"I9"}},
		{"facts come from another revision", func(h *hand) Outside { return forged{h} }, false, applied,
			[]string{"I4", "I9"}},
		{"no look at the document after a creation", func(h *hand) Outside { return &hasty{hand: h} }, false,
			created, []string{"I9"}},
		{"an unchanged decision is not written", func(h *hand) Outside { return &sparing{hand: h} }, false, created,
			[]string{"I9"}},
		{"a decision claims events", func(h *hand) Outside { return claiming{h} }, false, applied,
			[]string{"coverage"}},
	}
	return ofSyncs, ofDecisions
}

func TestTheCheckerFindsFault(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine runs at a time, so the race detector adds nothing")
	}
	t.Parallel()
	for _, m := range slices.Concat(mutations()) {
		for _, rule := range m.breaks {
			t.Run(m.name+", so "+rule, func(t *testing.T) {
				t.Parallel()
				sc := m.scenario(m.in, rule)
				sc.busyFirst = true
				synctest.Test(t, func(t *testing.T) {
					e := explore(sc)
					if e.broken == nil {
						t.Fatalf("nothing found in %v", e)
					}
					t.Logf("%v\n%s", e, storyOf(sc, e.schedule))
				})
			})
		}
	}
}

// In the scenario that is too large to be explored, random courses find each fault of a decision
// too, so it means something that TestRandomCourses finds none there. Some faults do not show after
// a second document, which changes every snapshot: every other course has one document.
func TestRandomCoursesFindFault(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine runs at a time, so the race detector adds nothing")
	}
	t.Parallel()
	const most = 20_000
	_, ofDecisions := mutations()
	for _, m := range ofDecisions {
		for _, rule := range m.breaks {
			t.Run(m.name+", so "+rule, func(t *testing.T) {
				t.Parallel()
				sc := m.scenario(documentsAmongChanges, rule)
				synctest.Test(t, func(t *testing.T) {
					for i := range uint64(most) {
						sc.documents = 2 - int(i%2)
						if e := walk(sc, rand.New(rand.NewPCG(i, 0))); e.broken != nil {
							t.Logf("course %d: %v", i+1, e.broken)
							return
						}
					}
					t.Errorf("nothing found in %d courses", most)
				})
			})
		}
	}
}
