package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/topology"
)

// ErrNoEvent means that the log has no event of a sequence.
var ErrNoEvent = errors.New("no such event")

// readAtMost bounds the events that [Log.Newest] reads for globs that few of them match.
const readAtMost = 20_000

// Newest is a part of a slice, from the newest event back.
type Newest struct {
	Events []Event // the newest first, without bodies
	// Next is the sequence before which the slice goes on, 0 at its end.
	Next uint64
	// SearchedTo is when the oldest event that was read was stored. It is set only if the globs left out
	// so many events that the search ended early, with fewer events than the limit.
	SearchedTo time.Time
}

// Newest returns the newest events of the slice before a sequence, 0 for the newest of all, and at most
// limit of them. It reads a few times limit, and for globs that no subject filter expresses at most
// readAtMost.
func (l *Log) Newest(ctx context.Context, s Slice, before uint64, limit int) (found Newest, err error) {
	types, err := s.types()
	if err != nil {
		return found, err
	}
	b := streams.Backwards{Stream: topology.EventsStream, Subjects: s.filters(), Before: before, Limit: limit,
		HeadersOnly: true}
	if b.Floor, err = l.firstSince(ctx, s.Since); err != nil {
		return found, err
	}
	if !s.Until.IsZero() {
		until, err := l.firstSince(ctx, s.Until)
		if err != nil {
			return found, err
		}
		if before == 0 || until < before {
			b.Before = until
		}
	}
	for read := 0; ; {
		list, next, err := streams.Newest(ctx, l.js, b)
		if err != nil {
			return found, err
		}
		for i, msg := range list {
			e, err := eventOf(msg)
			if err != nil || !types.Marks(e.Type) {
				continue
			}
			if found.Events = append(found.Events, e); len(found.Events) == limit {
				if found.Next = msg.Seq; i == len(list)-1 {
					found.Next = next
				}
				return found, nil
			}
		}
		if read += len(list); next == 0 || len(list) == 0 {
			return found, nil
		}
		if b.Before = next; read >= readAtMost {
			found.Next, found.SearchedTo = next, list[len(list)-1].Stored.UTC()
			return found, nil
		}
		b.Limit = 5000 // the globs leave out most
	}
}

// firstSince returns the sequence of the first event that was stored at a time or later: 0 for the zero
// time, the next sequence to come if there is none.
func (l *Log) firstSince(ctx context.Context, at time.Time) (uint64, error) {
	if at.IsZero() {
		return 0, nil
	}
	info, err := l.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of the event log: %w", err)
	}
	reading := streams.Reading{Stream: topology.EventsStream, Since: at, HeadersOnly: true}
	for msg, err := range streams.Messages(ctx, l.js, reading) {
		if err != nil {
			return 0, err
		}
		return msg.Seq, nil
	}
	return info.State.LastSeq + 1, nil
}

// Event returns the event of a sequence, with its body, or [ErrNoEvent].
func (l *Log) Event(ctx context.Context, seq uint64) (Event, error) {
	m, err := l.events.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || seq == 0 {
		return Event{}, ErrNoEvent
	}
	if err != nil {
		return Event{}, fmt.Errorf("read event %d: %w", seq, err)
	}
	return eventOf(streams.Message{Subject: m.Subject, Header: m.Header, Data: m.Data, Seq: m.Sequence, Stored: m.Time})
}

// End returns the sequence of the newest event.
func (l *Log) End(ctx context.Context) (uint64, error) {
	info, err := l.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of the event log: %w", err)
	}
	return info.State.LastSeq, nil
}

// Has reports whether the slice selects an event, at any time.
func (s Slice) Has(e *Event) bool {
	types, err := s.types()
	return err == nil && types.Marks(e.Type) && s.Mode == e.Customer.Mode &&
		(s.Account == "" || accountFilter(s.Account) == accountFilter(cmp.Or(e.Customer.Account, Own))) &&
		(len(s.Customers) == 0 || slices.Contains(s.Customers, e.Customer.ID))
}

// After returns the newest events of a mode behind a sequence, the newest first, and at most limit of
// them. more reports that there are others in between.
func (l *Log) After(ctx context.Context, m entitlement.Mode, seq uint64, limit int) (
	list []Event, more bool, err error) {
	messages, next, err := streams.Newest(ctx, l.js, streams.Backwards{Stream: topology.EventsStream,
		Subjects: Slice{Mode: m}.filters(), Floor: seq + 1, Limit: limit, HeadersOnly: true})
	for _, msg := range messages {
		if e, err := eventOf(msg); err == nil {
			list = append(list, e)
		}
	}
	return list, next != 0, err
}
