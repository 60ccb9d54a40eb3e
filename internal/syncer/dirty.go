package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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

// still reports whether the stream is the one of the end, and has not lost what was there.
func (e markersEnd) still(ctx context.Context, s *store) (bool, error) {
	now, err := s.markersEnd(ctx)
	return now.Stream.Equal(e.Stream) && now.Seq >= e.Seq, err
}

// dirty counts the customers of one's own account that have a marker in a lane.
func (s *store) dirty(ctx context.Context, mode entitlement.Mode, lane stripeevent.Lane) (int, error) {
	_, total, err := s.markedSubjects(ctx, stripeevent.OwnMarkers(mode, lane), math.MaxInt32) // behind the last: none is listed
	return total, err
}

// dirtyIDs are the customers of one's own account that have a marker. One that gets a marker meanwhile may be missing, or
// one that is listed while others lose theirs.
func (s *store) dirtyIDs(ctx context.Context, mode entitlement.Mode) (idSet, error) {
	ids := newIDSet()
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		for offset, total := 0, 1; offset < total; {
			page, n, err := s.markedSubjects(ctx, stripeevent.OwnMarkers(mode, lane), offset)
			if err != nil {
				return ids, err
			}
			for subject := range page {
				if _, c, err := stripeevent.ParseSyncSubject(subject); err == nil {
					ids.add(c.ID)
				}
			}
			if len(page) == 0 {
				break
			}
			offset, total = offset+len(page), n
		}
	}
	return ids, nil
}

// markedSubjects are those subjects of STRIPE_SYNC under a filter that have a message, from an offset on and as many as the server lists at
// once, and how many there are. nats.go would fetch them all.
func (s *store) markedSubjects(ctx context.Context, filter string, offset int) (page map[string]uint64, total int, err error) {
	ask, _ := json.Marshal(map[string]any{"subjects_filter": filter, "offset": offset}) // a string and a number: cannot fail
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	answer, err := s.js.Conn().RequestWithContext(ctx, apiPrefix(s.js)+"STREAM.INFO."+topology.SyncStream, ask)
	if err != nil {
		return nil, 0, fmt.Errorf("look for dirty customers: %w", err)
	}
	var r struct {
		Error *jetstream.APIError `json:"error"`
		Total int                 `json:"total"`
		State *struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	switch err := json.Unmarshal(answer.Data, &r); {
	case err != nil:
		return nil, 0, fmt.Errorf("look for dirty customers: %w", err)
	case r.Error != nil:
		return nil, 0, fmt.Errorf("look for dirty customers: %w", r.Error)
	case r.State == nil:
		return nil, 0, fmt.Errorf("look for dirty customers: %w", errors.New("neither a state nor an error in the answer"))
	}
	return r.State.Subjects, r.Total, nil
}
