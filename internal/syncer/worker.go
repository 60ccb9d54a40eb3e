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

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

const (
	// fewestHeld bounds the markers of one lane that a syncer holds: fetching, waiting for a customer's pace or for the
	// budget. The rest waits in the stream, where it costs this process nothing. At high rates twice as many as it may fetch are more.
	fewestHeld = 256
	// answerWait is a Stripe that is slow: a request and what a sync does around it.
	answerWait = 500 * time.Millisecond
	// fewestFetches and mostFetches bound [fetches]. The upper one is what bounds a syncer's memory.
	fewestFetches, mostFetches = 10, 256
	// The server redelivers a marker AckWait after the last sign of life, so a killed syncer's work moves on soon.
	signOfLife = topology.AckWait / 3
	// pullFor bounds one pull, so that a consumer that vanished is noticed.
	pullFor = 10 * time.Second
	// A consumer's leader that is gone takes the pulls with it that wait there; one without a beat for two of these is lost.
	heartbeat = time.Second
)

// fetches is how many syncs of webhooks a syncer has under way at Stripe: as many as it takes to use a rate of requests/s alone, by Little's law.
// The same number bounds those that apps ask for, half of it bulk work.
func fetches(rate float64) int {
	return int(min(max(math.Ceil(rate*answerWait.Seconds()), fewestFetches), mostFetches))
}

// lane takes the markers of one lane and syncs their customers until ctx ends; then it finishes what it holds, until
// hard ends. It returns when everything it held is settled or abandoned.
func (s *Syncer) lane(ctx, hard context.Context, lane stripeevent.Lane) {
	slots := make(chan struct{}, max(fewestHeld, 2*fetches(s.cfg.Rate)))
	var working sync.WaitGroup
	defer working.Wait()
	s.consume(ctx, topology.LaneConsumer(s.mode, lane), slots, func(msg jetstream.Msg) {
		working.Go(func() {
			defer func() { <-slots }()
			s.handle(ctx, hard, lane, msg)
		})
	})
}

// consume pulls from a consumer until ctx ends. start gets each message, and with it a slot to free.
func (s *Syncer) consume(ctx context.Context, name string, slots chan struct{}, start func(jetstream.Msg)) {
	for broken := false; ctx.Err() == nil; broken = true {
		cons, err := s.consumer(ctx, name)
		if broken && err == nil {
			// Whatever broke the pull may have taken the schedules along.
			s.lookAgain()
		}
		for err == nil && s.gate.wait(ctx) == nil {
			s.ready(conditionWork+" "+name, nil)
			err = pull(ctx, cons, slots, start)
		}
		if ctx.Err() != nil {
			return
		}
		s.ready(conditionWork+" "+name, fmt.Errorf("pull from consumer %s: %w", name, err))
		if sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// lookAgain has the schedules checked now, and not only at the next minute.
func (s *Syncer) lookAgain() {
	select {
	case s.look <- struct{}{}:
	default: // it is about to be
	}
}

// consumer looks the consumer up. Its answer is not waited for long: while a new leader is elected there is none.
func (s *Syncer) consumer(ctx context.Context, name string) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWithin)
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
	pulling, stop := context.WithTimeout(ctx, pullFor)
	defer stop()
	batch, err := cons.Fetch(free, jetstream.FetchContext(pulling), jetstream.FetchHeartbeat(heartbeat))
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

// handle syncs the customer of one marker and settles the marker. ctx ends the waiting for pace and budget, hard ends
// everything.
func (s *Syncer) handle(ctx, hard context.Context, lane stripeevent.Lane, msg jetstream.Msg) {
	t, err := taskOf(lane, msg)
	if err != nil {
		s.log.Error("marker dropped: its subject names no customer", "subject", msg.Subject(), "err", err)
		s.settled(msg.TermWithReason("its subject names no customer"), t)
		return
	}
	if s.gate.isShut() {
		s.settled(msg.NakWithDelay(probeEvery), t)
		return
	}
	hard, end := s.tracer.task(hard, trace.SpanKindConsumer, topology.SyncStream, msg.Headers(), t)
	defer end()
	switch done, wait, err := s.protocol.covered(hard, t); {
	case done && s.protocol.unpark(hard, t) == nil:
		s.metrics.superseded.Inc()
		s.settled(msg.Ack(), t)
		return
	case wait:
		s.settled(msg.NakWithDelay(reliefDelay), t)
		return
	case err != nil:
		s.settled(msg.NakWithDelay(againDelay), t)
		return
	}
	defer keepAlive(hard, msg)()
	res, err := s.protocol.sync(hard, trace.ContextWithSpan(ctx, trace.SpanFromContext(hard)), t)
	tell(hard, res, err)
	switch {
	case err == nil && res.superseded:
		s.metrics.superseded.Inc()
		s.settled(msg.Ack(), t)
	case err == nil:
		if err := s.succeeded(hard, t, res); err != nil {
			s.log.Warn("sync succeeded but is repeated", "customer", t.customer, "err", err)
			s.settled(msg.NakWithDelay(againDelay), t)
			return
		}
		s.settled(msg.Ack(), t)
	case errors.Is(err, errYield):
		s.settled(msg.NakWithDelay(reliefDelay), t)
	case ctx.Err() != nil:
		// Stopping: another syncer takes it over at once.
		s.settled(msg.Nak(), t)
	default:
		if done, delay := s.failed(hard, t, res.record, err); done {
			s.settled(msg.Ack(), t)
		} else {
			s.settled(msg.NakWithDelay(delay), t)
		}
	}
}

func taskOf(lane stripeevent.Lane, msg jetstream.Msg) (task, error) {
	_, c, err := stripeevent.ParseSyncSubject(msg.Subject())
	if err != nil {
		return task{}, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return task{customer: c}, err
	}
	if c.ID == "" {
		return task{}, errors.New("no customer in it")
	}
	return task{
		customer: c,
		lane:     lane,
		subject:  msg.Subject(),
		seq:      meta.Sequence.Stream,
		cause:    stripeevent.DecodeMarker(msg.Data()),
		received: meta.Timestamp,
	}, nil
}

// keepAlive tells the server that the message is being worked on until the returned function is called. It waits for its
// goroutine.
func keepAlive(ctx context.Context, msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var alive sync.WaitGroup
	alive.Go(func() {
		for sleep(ctx, signOfLife) == nil {
			// One that does not arrive costs a redelivery, which the next one or the ack makes harmless.
			_ = msg.InProgress()
		}
	})
	return func() { cancel(); alive.Wait() }
}

// settled logs an ack that could not be sent: the server redelivers the marker, and the sync is repeated.
func (s *Syncer) settled(err error, t task) {
	if err != nil {
		s.log.Warn("marker not settled, it will be delivered again", "customer", t.customer, "stream_seq", t.seq, "err", err)
	}
}

// succeeded does what follows a sync that wrote: a success is evidence that Stripe answers, and it unparks its customer.
func (s *Syncer) succeeded(ctx context.Context, t task, res synced) error {
	s.evidence.succeeded(t.customer.Key(), time.Now())
	s.ready(conditionStripe, nil)
	s.metrics.synced(t, res.record)
	return s.protocol.unpark(ctx, t)
}

// failed counts a failure and says whether the marker is done, and if not, when it comes back.
func (s *Syncer) failed(ctx context.Context, t task, rec Record, err error) (done bool, delay time.Duration) {
	d := dispose(err)
	s.metrics.failed(d)
	settled, ferr := s.protocol.failed(ctx, t, rec, err, s.evidence)
	switch {
	case d == halt:
		s.halt(t, err)
	case d == refuse && !t.eager(): // of any id that somebody may ask for, Stripe's refusal is no word on the others
		if settled.outcome == Failed {
			s.ready(conditionStripe, fmt.Errorf("request refused by Stripe, and nobody else succeeds, so the fault may be ours: %w", err))
		}
		s.evidence.refused(t.customer.Key(), time.Now())
	}
	if ferr != nil {
		err = errors.Join(err, ferr)
	}
	switch {
	case settled.outcome == Parked && settled.done:
		s.metrics.synced(t, Record{Trigger: t.cause.Trigger, Outcome: Parked})
		s.log.Error("customer parked: its next event or `entitled sync` tries it again", append(traceID(ctx), "customer", t.customer, "event", t.cause.Event, "err", err)...)
	case d == halt:
		// Said once, by the gate.
	case t.eager():
		s.log.Warn("sync failed, whoever asked for it is told", append(traceID(ctx), "customer", t.customer, "err", err)...)
	case settled.stale:
		s.log.Info("sync failed, but its marker is done or replaced", append(traceID(ctx), "customer", t.customer, "event", t.cause.Event, "err", err)...)
	default:
		s.log.Warn("sync failed, it will be tried again", append(traceID(ctx), "customer", t.customer, "event", t.cause.Event, "delay", settled.delay.Round(time.Millisecond), "err", err)...)
	}
	return settled.done && ferr == nil, settled.delay
}
