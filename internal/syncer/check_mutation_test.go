package syncer

import (
	"context"
	"testing"
	"testing/synctest"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// The checker can find fault: each of these breaks the protocol in one place, and a course that shows it must be found.
// They are wrappers around the world that amount to the change in protocol.go that their comment names.

// unfenced writes whatever is there: WriteSnapshot without its revision.
type unfenced struct{ *hand }

func (u unfenced) WriteSnapshot(ctx context.Context, key string, data []byte, _ uint64) (uint64, error) {
	return u.put(ctx, key, data, 0, true)
}

// fencedLate reads the revision after the fetch: p.fence behind p.fetch.
type fencedLate struct{ *hand }

func (f fencedLate) WriteSnapshot(ctx context.Context, key string, data []byte, _ uint64) (uint64, error) {
	_, revision, err := f.Snapshot(ctx, key)
	if err != nil {
		return 0, err
	}
	return f.hand.WriteSnapshot(ctx, key, data, revision)
}

// thrifty does not write what has not changed: a return behind settle.
type thrifty struct {
	*hand
	cur *entitlement.Snapshot
}

func (h *thrifty) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	data, revision, err := h.hand.Snapshot(ctx, key)
	h.cur = nil
	if s, err := entitlement.Decode(data); err == nil {
		h.cur = &s
	}
	return data, revision, err
}

func (h *thrifty) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	if next, err := entitlement.Decode(data); err == nil && h.cur != nil && next.Equal(h.cur) {
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

// boastful reads the end of the event log after the fetch: LastEvent behind p.fetch.
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

func (b *boastful) AppendRecord(ctx context.Context, c stripeevent.Customer, rec Record) error {
	if rec.Revision != 0 {
		rec.EventsSeq = b.last
	}
	return b.hand.AppendRecord(ctx, c, rec)
}

// forgetful sets the wake and does not look whether another syncer wrote meanwhile: wake without its loop.
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

func TestTheCheckerFindsFault(t *testing.T) {
	t.Parallel()
	thereAndBack := scenario{syncers: 2, changes: [][]string{{"A", "B", "A"}}}
	once := scenario{syncers: 2, changes: [][]string{{"A"}}, crashes: 1, lags: 1}
	twice := scenario{syncers: 2, changes: [][]string{{"A", "B"}}, lags: 1}
	for _, mutation := range []struct {
		name     string
		mutate   func(*hand) outside
		ackFirst bool
		in       scenario
		// breaks are rules that it breaks, each by a course of its own.
		breaks []string
	}{
		{"the fence is removed", func(h *hand) outside { return unfenced{h} }, false, thereAndBack, []string{"I3", "I6"}},
		{"the revision is read after the fetch", func(h *hand) outside { return fencedLate{h} }, false, thereAndBack, []string{"I3", "I6"}},
		{"an unchanged state is not written", func(h *hand) outside { return &thrifty{hand: h} }, false, thereAndBack, []string{"I6"}},
		{"the ack comes before the write", nil, true, once, []string{"I2", "I6"}},
		{"a marker that is not found is dropped", func(h *hand) outside { return credulous{h} }, false, twice, []string{"I2", "I6"}},
		{"the end of the log is read after the fetch", func(h *hand) outside { return &boastful{hand: h} }, false, thereAndBack, []string{"coverage"}},
		{"the wake is set without a second look", func(h *hand) outside { return &forgetful{hand: h} }, false, thereAndBack, []string{"wake"}},
	} {
		for _, rule := range mutation.breaks {
			t.Run(mutation.name+", so "+rule, func(t *testing.T) {
				t.Parallel()
				sc := mutation.in
				sc.mutate, sc.ackFirst, sc.only = mutation.mutate, mutation.ackFirst, rule
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
