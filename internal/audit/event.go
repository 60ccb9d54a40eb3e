package audit

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An Event is one event of the log.
type Event struct {
	// Seq is its sequence in STRIPE_EVENTS, StoredAt when it was stored there.
	Seq      uint64
	StoredAt time.Time
	// Customer is whose it is; its ID is empty for an event that names none.
	Customer stripeevent.Customer
	Type     string
	// ID is Stripe's, evt_…; empty where the message has none.
	ID string
	// Digest is what was recorded of the body when it arrived, see [stripeevent.BodyDigest]; empty where nothing was.
	Digest string
	// Size is the body's, in bytes.
	Size int
	// Body is as it arrived; nil unless asked for.
	Body []byte
}

// Intact reports whether the body is the one that arrived.
func (e *Event) Intact() bool { return e.Digest != "" && stripeevent.BodyDigest(e.Body) == e.Digest }

// EventsOptions say how events are read.
type EventsOptions struct {
	// Bodies are read too.
	Bodies bool
	// Follow goes on behind the end of the log until the context ends.
	Follow bool
	// FollowUntil, if not zero, is how long what comes behind the end of the log is waited for. What is there before is read to its end
	// however long that takes.
	FollowUntil time.Time
	// Total, if not nil, is told before the first event how many the server has for the slice; those stored at or after
	// Until and those that no glob matches count too.
	Total func(uint64)
	// Foreign, if not nil, is told the sequence of each message whose subject is none of an event's: it is not ours, and is passed over.
	Foreign func(seq uint64)
}

// Events calls each for the events of the slice, in the order in which they were stored, until it returns an error. It holds a
// bounded number of bytes whatever the size of the slice.
func (l *Log) Events(ctx context.Context, s Slice, o EventsOptions, each func(*Event) error) error {
	types, err := s.types()
	if err != nil {
		return err
	}
	r := reading{
		stream: topology.EventsStream, filters: s.filters(), since: s.Since,
		headersOnly: !o.Bodies, follow: o.Follow, followUntil: o.FollowUntil, total: o.Total,
	}
	return l.read(ctx, r, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) (bool, error) {
		if !s.Until.IsZero() && !meta.Timestamp.Before(s.Until) {
			return false, nil
		}
		e, err := eventOf(msg, meta)
		if err != nil {
			if o.Foreign != nil {
				o.Foreign(meta.Sequence.Stream)
			}
			return true, nil
		}
		if !types.Marks(e.Type) {
			return true, nil
		}
		return true, each(&e)
	})
}

func eventOf(msg jetstream.Msg, meta *jetstream.MsgMetadata) (Event, error) {
	c, typ, err := stripeevent.ParseEventSubject(msg.Subject())
	if err != nil {
		return Event{}, err
	}
	h := msg.Headers()
	return Event{
		Seq: meta.Sequence.Stream, StoredAt: meta.Timestamp.UTC(), Customer: c, Type: typ,
		ID: eventID(h), Digest: h.Get(stripeevent.DigestHeader), Size: size(msg), Body: msg.Data(),
	}, nil
}

// eventID is the second half of a [stripeevent.MsgID].
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

// size is the body's, whether or not the server sent it.
func size(msg jetstream.Msg) int {
	if n, err := strconv.Atoi(msg.Headers().Get(nats.MsgSize)); err == nil {
		return n
	}
	return len(msg.Data())
}
