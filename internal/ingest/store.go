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

// maxPending is the greatest number of outstanding PubAcks, two per webhook. It bounds the memory
// of bodies while NATS is slow or unreachable. A webhook above the limit waits 200 ms, then is not
// stored, and Stripe retries it.
const maxPending = 16 << 10

// NewPublisher returns the JetStream context for an [Ingest] with this PublishTimeout.
//
// It gives up a PubAck after the timeout, because nats.go otherwise keeps the message in memory
// until the next reconnect. nats.go drops a PubAck that arrives later.
func NewPublisher(nc *nats.Conn, timeout time.Duration) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPending),
		jetstream.WithPublishAsyncTimeout(timeout))
	if err != nil {
		return nil, fmt.Errorf("JetStream context for ingest: %w", err)
	}
	return js, nil
}

// store publishes events and markers.
type store struct {
	publisher Publisher
	events    *group
	timeout   time.Duration
	types     stripeevent.Types
	metrics   *metrics
	trace     tracer
}

// errNoAck is the error if there is neither a PubAck nor another error.
var errNoAck = errors.New("no PubAck")

var errTimeout = fmt.Errorf("%w within PUBLISH_TIMEOUT", errNoAck)

// put publishes the event and, if its type marks the customer, the marker. It returns when both are
// acknowledged, or when one cannot be within the timeout. The receipt is the event's. It also
// publishes the marker of a duplicate, since the earlier delivery may have failed between the two.
//
// The marker is published after the event's PubAck, so that a syncer that receives it finds the
// event below the end of the stream, and the record of its sync covers the event. If they were
// published concurrently, a marker stored before its event would lead to a second sync.
//
// nats.go may send a body again while its PubAck is outstanding, so after an error the body must
// not change.
//
// ctx is only for the trace: if the sender disconnects, the publishing continues.
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
	// No message id: deduplication would drop the last marker of a burst, the one that counts.
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

// publish publishes one message and waits for its PubAck.
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

// wait returns the PubAck of a future. It may be called again with the same deadline until that has
// passed.
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

// marks reports whether the event marks its customer, and counts the reason if not.
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

// hint returns the next step for an error of put; "" if there is none in particular.
func hint(err error) string {
	var api *jetstream.APIError
	switch {
	case topology.IsNoRoom(err):
		return topology.NoRoomHint
	case errors.Is(err, nats.ErrMaxPayload):
		return "raise max_payload in nats.conf above MAX_BODY_BYTES plus 4096, or lower MAX_BODY_BYTES"
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return "no stream has the subject, or it has no leader because servers are down or full: run `entitled doctor`"
	case errors.Is(err, jetstream.ErrTooManyStalledMsgs):
		return "NATS acknowledges too slowly: check its disk and the load"
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrReconnectBufExceeded):
		return "NATS is unreachable: check NATS_URL and the server"
	case errors.Is(err, errTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		return "NATS does not acknowledge in time: run `entitled doctor` to check its servers and disks"
	case errors.As(err, &api):
		return "the server refused it: check the limits of STRIPE_EVENTS and STRIPE_SYNC, and the disk"
	}
	return ""
}
