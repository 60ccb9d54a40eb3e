package audit

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An Event is one event of STRIPE_EVENTS.
type Event struct {
	// Seq is its sequence in STRIPE_EVENTS, StoredAt when it was stored.
	Seq      uint64
	StoredAt time.Time
	// Customer is the event's customer; its ID is empty if the event names none.
	Customer stripeevent.Customer
	Type     string
	// ID is Stripe's id, evt_…; empty if the message has none.
	ID string
	// Digest is the recorded digest of the body as it arrived, see [stripeevent.BodyDigest]; empty
	// if there is none.
	Digest string
	// Size is the size of the body in bytes.
	Size int
	// Body is the body as it arrived; nil unless requested.
	Body []byte
}

// Intact reports whether the body is unchanged since it arrived.
func (e *Event) Intact() bool { return e.Digest != "" && stripeevent.BodyDigest(e.Body) == e.Digest }

// EventsOptions configure [Log.Events].
type EventsOptions struct {
	// Bodies makes Events read the bodies too.
	Bodies bool
	// Follow continues after the end of the stream until the context ends.
	Follow bool
	// FollowUntil, if not zero, ends the wait for events after the end of the stream. The
	// existing events are read to the end however long that takes.
	FollowUntil time.Time
	// Total, if not nil, is called before the first event with the server's number of events in the
	// slice. That includes events stored at or after Until and those that no glob matches.
	Total func(uint64)
	// Foreign, if not nil, is called with the sequence of each message whose subject is not that of
	// an event. Such messages are skipped.
	Foreign func(seq uint64)
}

// Events calls each for the events of the slice, in the order in which they were stored, until it
// returns an error. Its memory is bounded, whatever the size of the slice.
func (l *Log) Events(ctx context.Context, s Slice, o EventsOptions, each func(*Event) error) error {
	types, err := s.types()
	if err != nil {
		return err
	}
	log := streams.Messages(ctx, l.js, streams.Reading{
		Stream: topology.EventsStream, Subjects: s.filters(), Since: s.Since, HeadersOnly: !o.Bodies,
		Follow: o.Follow, FollowUntil: o.FollowUntil, Total: o.Total,
	})
	for msg, err := range log {
		if err != nil {
			return err
		}
		if !s.Until.IsZero() && !msg.Stored.Before(s.Until) {
			return nil
		}
		e, err := eventOf(msg)
		if err != nil {
			if o.Foreign != nil {
				o.Foreign(msg.Seq)
			}
			continue
		}
		if !types.Marks(e.Type) {
			continue
		}
		if err := each(&e); err != nil {
			return err
		}
	}
	return nil
}

func eventOf(msg streams.Message) (Event, error) {
	c, typ, err := stripeevent.ParseEventSubject(msg.Subject)
	if err != nil {
		return Event{}, err
	}
	return Event{
		Seq: msg.Seq, StoredAt: msg.Stored.UTC(), Customer: c, Type: typ,
		ID: eventID(msg.Header), Digest: msg.Header.Get(stripeevent.DigestHeader), Size: size(msg), Body: msg.Data,
	}, nil
}

// eventID returns the second half of a [stripeevent.MsgID].
func eventID(h nats.Header) string {
	_, token, ok := strings.Cut(h.Get(jetstream.MsgIDHeader), "/")
	if !ok {
		return ""
	}
	if _, id, err := entitlement.ParseKey(token); err == nil {
		return id
	}
	return token
}

// size returns the size of the body, whether or not the server sent it.
func size(msg streams.Message) int {
	if n, err := strconv.Atoi(msg.Header.Get(nats.MsgSize)); err == nil {
		return n
	}
	return len(msg.Data)
}
