package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A MarkersEnd is the end of STRIPE_SYNC before a sweep. Every fetch of the sweep starts after the
// markers up to there were stored.
type MarkersEnd struct {
	Seq uint64 `json:"markers"`
	// At is when the message at that end was stored; Stream is when the stream was created, because
	// the sequences of a recreated stream cannot be compared.
	At     time.Time `json:"at"`
	Stream time.Time `json:"stream"`
}

// MarkersEnd reads the end of STRIPE_SYNC.
func (s *Store) MarkersEnd(ctx context.Context) (MarkersEnd, error) {
	info, err := s.Sync.Info(ctx)
	if err != nil {
		return MarkersEnd{}, fmt.Errorf("read the end of %s: %w", topology.SyncStream, err)
	}
	return MarkersEnd{Seq: info.State.LastSeq, At: info.State.LastTime, Stream: info.Created}, nil
}

// Still fails with ErrRecreated if the stream was recreated since, or has lost its end.
func (e MarkersEnd) Still(ctx context.Context, s *Store) error {
	now, err := s.MarkersEnd(ctx)
	if err == nil && (!now.Stream.Equal(e.Stream) || now.Seq < e.Seq) {
		err = fmt.Errorf("stream %s: %w", topology.SyncStream, ErrRecreated)
	}
	return err
}

// Dirty counts the customers of one's own account that have a marker in a lane.
func (s *Store) Dirty(ctx context.Context, mode entitlement.Mode, lane stripeevent.Lane) (int, error) {
	const beyondTheLast = math.MaxInt32 // so that no subject is listed
	return s.markedSubjects(ctx, stripeevent.OwnMarkers(mode, lane), beyondTheLast, nil)
}

// DirtyIDs returns the customers of one's own account that have a marker. It may miss customers
// whose markers change while it lists them.
func (s *Store) DirtyIDs(ctx context.Context, mode entitlement.Mode) (idset.Set, error) {
	ids := idset.New()
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		for offset, total := 0, 1; offset < total; {
			before := offset
			var err error
			total, err = s.markedSubjects(ctx, stripeevent.OwnMarkers(mode, lane), offset, func(subject string) {
				offset++
				if _, c, err := stripeevent.ParseSyncSubject(subject); err == nil {
					ids.Add(c.ID)
				}
			})
			if err != nil {
				return ids, err
			}
			if offset == before {
				break
			}
		}
	}
	return ids, nil
}

// markedSubjects calls f with the subjects of STRIPE_SYNC under a filter that have a message, from
// offset on, as many as the server lists in one answer; nats.go would fetch them all. total counts
// all of them.
func (s *Store) markedSubjects(
	ctx context.Context, filter string, offset int, f func(subject string),
) (total int, err error) {
	// A string and a number: cannot fail.
	ask, _ := json.Marshal(map[string]any{"subjects_filter": filter, "offset": offset})
	if _, total, err = askStream(ctx, s.JS, topology.SyncStream, ask, f); err != nil {
		return 0, fmt.Errorf("look for dirty customers: %w", err)
	}
	return total, nil
}
