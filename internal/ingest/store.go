package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// maxPending is how many PubAcks may be outstanding, two for a webhook. It bounds the bodies held while NATS is
// slow or away; a webhook beyond it waits 200 ms for a place, then is not stored and Stripe sends it again.
const maxPending = 16 << 10

// NewPublisher returns the JetStream context that an [Ingest] with that PublishTimeout should publish with.
//
// Futures whose PubAck never comes are given up after the timeout, so that they hold no memory: nats.go keeps them until
// the next reconnect otherwise. A PubAck that comes later is dropped by nats.go without a trace.
func NewPublisher(nc *nats.Conn, timeout time.Duration) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(timeout))
	if err != nil {
		return nil, fmt.Errorf("JetStream context for ingest: %w", err)
	}
	return js, nil
}

// store puts events where they are safe.
type store struct {
	publisher Publisher
	events    *group
	timeout   time.Duration
	types     stripeevent.Types
	metrics   *metrics
	trace     tracer
}

// errNoAck is what is left when neither a PubAck nor an error has come.
var errNoAck = errors.New("no PubAck")

var errTimeout = fmt.Errorf("%w within PUBLISH_TIMEOUT", errNoAck)

// put publishes the event and, if it marks its customer, the marker, and returns when both are acknowledged or one of them
// cannot be within the timeout. The receipt is the event's. The marker of a duplicate is stored again, since the former
// delivery may have failed between the two.
//
// The marker follows the event's PubAck: a syncer that gets it finds the event below the end of the log, so that the
// record of its sync covers the event. Published side by side, a marker that overtakes its event on the way through the
// disk would lead to a second sync.
//
// nats.go may publish a body once more while its PubAck is outstanding: after an error it must never change.
//
// ctx is for the trace alone: a sender that hangs up does not end the storing.
func (s *store) put(ctx context.Context, e *stripeevent.Envelope, body []byte) (r receipt, err error) {
	deadline := time.NewTimer(s.timeout)
	defer deadline.Stop()

	event := &nats.Msg{
		Subject: stripeevent.EventSubject(e.Owner(), e.Type),
		Header: nats.Header{
			jetstream.MsgIDHeader:    {stripeevent.MsgID(e.Account, e.ID)},
			stripeevent.DigestHeader: {stripeevent.BodyDigest(body)},
		},
		Data: body,
	}
	span := s.trace.publish(ctx, topology.EventsStream, event)
	r, err = s.events.publish(event, deadline.C)
	span.stored(r.sequence, err)
	if err != nil {
		return r, fmt.Errorf("publish event: %w", err)
	}
	if !s.marks(e) {
		return r, nil
	}
	// No message id: a window that drops repeats would drop the last marker of a burst, which is the one that counts.
	marker := &nats.Msg{
		Subject: stripeevent.SyncSubject(stripeevent.Now, e.Owner()),
		Data: stripeevent.EncodeMarker(entitlement.Cause{
			Trigger: stripeevent.TriggerWebhook, Event: e.ID, Type: e.Type,
		}),
	}
	span = s.trace.publish(ctx, topology.SyncStream, marker)
	stored, err := publish(s.publisher, marker, deadline.C)
	span.stored(stored.sequence, err)
	if err != nil {
		return r, fmt.Errorf("publish marker: %w", err)
	}
	return r, nil
}

// publish publishes a message by itself and waits for its PubAck.
func publish(p Publisher, m *nats.Msg, deadline <-chan time.Time) (receipt, error) {
	future, err := p.PublishMsgAsync(m)
	if err != nil {
		return receipt{}, err
	}
	ack, err := wait(future, deadline)
	if err != nil {
		return receipt{}, err
	}
	return receipt{sequence: ack.Sequence, duplicate: ack.Duplicate}, nil
}

// wait returns the PubAck of a future. It may be called again with the same deadline until it has fired.
func wait(f jetstream.PubAckFuture, deadline <-chan time.Time) (*jetstream.PubAck, error) {
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, fmt.Errorf("%w: %w", errNoAck, err)
	case <-deadline:
		return nil, errTimeout
	}
}

// marks reports whether the event marks its customer, and counts why not.
func (s *store) marks(e *stripeevent.Envelope) bool {
	if e.Odd != "" {
		s.metrics.odd.WithLabelValues(string(e.Odd)).Inc()
	}
	switch {
	case stripeevent.Thin(e.Type) && e.Customer == "" && e.Odd == "":
		s.metrics.unmarkedThin.Inc()
	case !s.types.Marks(e.Type):
		s.metrics.unmarkedType.Inc()
	case e.CustomerAccount:
		s.metrics.unmarkedCustomerAccount.Inc()
	case e.Customer == "" && e.Odd != "":
		s.metrics.unmarkedOdd.Inc()
	case e.Customer == "":
		s.metrics.unmarkedNobody.Inc()
	default:
		s.metrics.marked.Inc()
		return true
	}
	return false
}

// hint tells an operator what to do about an error of put, "" for nothing in particular.
func hint(err error) string {
	var api *jetstream.APIError
	switch {
	case topology.IsNoRoom(err):
		return topology.NoRoomHint
	case errors.Is(err, nats.ErrMaxPayload):
		return "raise max_payload in nats.conf above MAX_BODY_BYTES plus 4096, or lower MAX_BODY_BYTES"
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return "no stream takes the subject, or it has no leader, as when servers are away or full: `entitled doctor` says which"
	case errors.Is(err, jetstream.ErrTooManyStalledMsgs):
		return "NATS acknowledges too slowly: look at its disk and at the load"
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded):
		return "NATS is away: look at NATS_URL and the server"
	case errors.Is(err, errTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		return "NATS does not acknowledge in time: `entitled doctor` looks at its servers and their disks"
	case errors.As(err, &api):
		return "the server refused it: look at the limits of STRIPE_EVENTS and STRIPE_SYNC, and the disk"
	}
	return ""
}
