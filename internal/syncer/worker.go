package syncer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"entitled/internal/protocol"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

const (
	// fewestTaken bounds the markers of one lane that a syncer takes at a time, to fetch, or to
	// wait for a pace or a permit, unless twice its fetches are more. The others wait in the
	// stream, where they cost this process nothing.
	fewestTaken = 256
	// answerWait is the duration of a sync when Stripe is slow.
	answerWait = 500 * time.Millisecond
	// fewestFetches and mostFetches bound [fetches]. The upper one bounds a syncer's memory.
	fewestFetches, mostFetches = 10, 256
)

// fetches is how many syncs of webhooks a syncer has under way at Stripe: as many as one syncer
// needs to use the rate, in requests/s, alone (Little's law). The same number bounds the syncs of
// requests, and half of it bulk work.
func fetches(rate float64) int {
	return int(min(max(math.Ceil(rate*answerWait.Seconds()), fewestFetches), mostFetches))
}

// lane takes the markers of one lane and syncs their customers until ctx ends; then it finishes the
// syncs under way, until hard ends. It returns when all its markers are settled or abandoned.
func (s *Syncer) lane(ctx, hard context.Context, lane stripeevent.Lane) {
	slots := make(chan struct{}, max(fewestTaken, 2*fetches(s.cfg.Rate)))
	var working sync.WaitGroup
	defer working.Wait()
	s.consume(ctx, topology.LaneConsumer(s.mode, lane), slots, func(msg jetstream.Msg) {
		working.Go(func() {
			defer func() { <-slots }()
			s.handle(ctx, hard, lane, msg)
		})
	})
}

// consume pulls from a consumer until ctx ends. start gets each message, and with it a slot to
// free.
func (s *Syncer) consume(ctx context.Context, name string, slots chan struct{}, start func(jetstream.Msg)) {
	for broken := false; ctx.Err() == nil; broken = true {
		cons, err := s.consumer(ctx, name)
		if broken && err == nil {
			// The schedules may be lost too.
			s.lookAgain()
		}
		for err == nil && s.gate.Wait(ctx) == nil {
			s.ready(conditionWork+" "+name, nil)
			err = pull(ctx, cons, slots, start)
		}
		if ctx.Err() != nil {
			return
		}
		s.ready(conditionWork+" "+name, fmt.Errorf("pull from consumer %s: %w", name, err))
		if protocol.Sleep(ctx, s.cfg.Timing.Reopen) != nil {
			return
		}
	}
}

// lookAgain makes keepSchedules check now, and not only at the next minute.
func (s *Syncer) lookAgain() {
	select {
	case s.look <- struct{}{}:
	default: // a check is already due
	}
}

// consumer looks a consumer up. It does not wait long, because there is no answer during an
// election.
func (s *Syncer) consumer(ctx context.Context, name string) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, timing.LeaderWithin)
	defer cancel()
	return s.js.Consumer(ctx, topology.SyncStream, name)
}

// pull waits for free slots and asks for as many messages.
func pull(ctx context.Context, cons jetstream.Consumer, slots chan struct{}, start func(jetstream.Msg)) error {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	free := 1
	for full := false; !full && free < cap(slots); {
		select {
		case slots <- struct{}{}:
			free++
		default:
			full = true
		}
	}
	defer func() {
		for range free {
			<-slots
		}
	}()
	pulling, stop := context.WithTimeout(ctx, timing.PullWithin)
	defer stop()
	batch, err := cons.Fetch(free, jetstream.FetchContext(pulling), jetstream.FetchHeartbeat(timing.Heartbeat))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		free--
		start(msg)
	}
	if err := batch.Error(); err != nil && pulling.Err() == nil && !errors.Is(err, jetstream.ErrNoMessages) {
		return err
	}
	return nil
}

// handle gives one marker to the protocol. ctx ends the waits for pace and budget, hard ends
// everything.
func (s *Syncer) handle(ctx, hard context.Context, lane stripeevent.Lane, msg jetstream.Msg) {
	t, err := taskOf(lane, msg)
	if err != nil {
		s.log.Error("marker dropped: its subject names no customer", "subject", msg.Subject(), "err", err)
		s.settled(msg.TermWithReason("its subject names no customer"), t)
		return
	}
	if s.gate.IsShut() {
		s.settled(msg.NakWithDelay(s.cfg.Timing.Probe), t)
		return
	}
	hard, end := s.tracer.task(hard, trace.SpanKindConsumer, topology.SyncStream, msg.Headers(), t)
	defer end()
	s.protocol.Handle(hard, trace.ContextWithSpan(ctx, trace.SpanFromContext(hard)), t, msg)
}

func taskOf(lane stripeevent.Lane, msg jetstream.Msg) (protocol.Task, error) {
	_, c, err := stripeevent.ParseSyncSubject(msg.Subject())
	if err != nil {
		return protocol.Task{}, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return protocol.Task{Customer: c}, err
	}
	if c.ID == "" {
		return protocol.Task{}, errors.New("no customer in it")
	}
	return protocol.Task{
		Customer: c,
		Lane:     lane,
		Subject:  msg.Subject(),
		Seq:      meta.Sequence.Stream,
		Cause:    stripeevent.DecodeMarker(msg.Data()),
		Received: meta.Timestamp,
	}, nil
}

// settled logs an ack that could not be sent. The server redelivers the marker, and the sync is
// repeated.
func (s *Syncer) settled(err error, t protocol.Task) {
	if err != nil {
		s.log.Warn("marker not settled, it will be delivered again", "customer", t.Customer, "stream_seq",
			t.Seq, "err", err)
	}
}
