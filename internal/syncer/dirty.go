package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A markersEnd is the end of STRIPE_SYNC before a sweep: a fetch of it started after the markers up to there had been stored.
type markersEnd struct {
	Seq uint64 `json:"markers"`
	// At is when the message at that end was stored, and Stream when the stream was created: sequences of another one mean nothing.
	At     time.Time `json:"at"`
	Stream time.Time `json:"stream"`
}

func (s *store) markersEnd(ctx context.Context) (markersEnd, error) {
	info, err := s.sync.Info(ctx)
	if err != nil {
		return markersEnd{}, fmt.Errorf("read the end of %s: %w", topology.SyncStream, err)
	}
	return markersEnd{Seq: info.State.LastSeq, At: info.State.LastTime, Stream: info.Created}, nil
}

// still fails if the stream is not the one of the end any more, or has lost what was there.
func (e markersEnd) still(ctx context.Context, s *store) error {
	now, err := s.markersEnd(ctx)
	if err == nil && (!now.Stream.Equal(e.Stream) || now.Seq < e.Seq) {
		err = fmt.Errorf("stream %s: %w", topology.SyncStream, errMadeAnew)
	}
	return err
}

// dirty counts the customers of one's own account that have a marker in a lane.
func (s *store) dirty(ctx context.Context, mode entitlement.Mode, lane stripeevent.Lane) (int, error) {
	return s.markedSubjects(ctx, stripeevent.OwnMarkers(mode, lane), math.MaxInt32, nil) // behind the last: none is listed
}

// dirtyIDs are the customers of one's own account that have a marker. One that gets a marker meanwhile may be missing, or
// one that is listed while others lose theirs.
func (s *store) dirtyIDs(ctx context.Context, mode entitlement.Mode) (idSet, error) {
	ids := newIDSet()
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		for offset, total := 0, 1; offset < total; {
			before := offset
			var err error
			total, err = s.markedSubjects(ctx, stripeevent.OwnMarkers(mode, lane), offset, func(subject string) {
				offset++
				if _, c, err := stripeevent.ParseSyncSubject(subject); err == nil {
					ids.add(c.ID)
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

// markedSubjects calls f with those subjects of STRIPE_SYNC under a filter that have a message, from an offset on and as many as the
// server lists at once, and returns how many there are. nats.go would fetch them all.
func (s *store) markedSubjects(ctx context.Context, filter string, offset int, f func(subject string)) (total int, err error) {
	ask, _ := json.Marshal(map[string]any{"subjects_filter": filter, "offset": offset}) // a string and a number: cannot fail
	if _, total, err = askStream(ctx, s.js, topology.SyncStream, ask, f); err != nil {
		return 0, fmt.Errorf("look for dirty customers: %w", err)
	}
	return total, nil
}
