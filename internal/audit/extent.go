package audit

import (
	"context"
	"time"

	"entitled/internal/streams"
)

// Extent returns when the first and the last event of the slice's mode, account and customers were
// stored, whatever their types. It distinguishes a slice without events from a misspelled one. Both
// are zero if there is none.
func (l *Log) Extent(ctx context.Context, s Slice) (first, last time.Time, err error) {
	s.Types = nil
	for _, subject := range s.filters() {
		oldest, err := streams.First(ctx, l.events, 1, subject)
		if err != nil {
			return time.Time{}, time.Time{}, err
		}
		newest, err := streams.Last(ctx, l.events, subject)
		if err != nil {
			return time.Time{}, time.Time{}, err
		}
		if oldest == nil || newest == nil { // none, or forgotten in the meantime
			continue
		}
		if at := oldest.Time.UTC(); first.IsZero() || at.Before(first) {
			first = at
		}
		if at := newest.Time.UTC(); at.After(last) {
			last = at
		}
	}
	return first, last, nil
}
