package protocol

import (
	"context"
	"errors"
	"time"

	"entitled/internal/record"
)

// A Message is a delivered marker. A jetstream.Msg is one.
type Message interface {
	Ack() error
	Nak() error
	NakWithDelay(delay time.Duration) error
	InProgress() error
}

// An Observer is called with the results of syncs, for metrics, traces, the log and readiness. Its
// methods must not block.
type Observer interface {
	// Conflicted: a write came too late, because another sync of the customer wrote first.
	Conflicted()
	// Problems: a decision found words in Stripe's metadata that grant nothing.
	Problems()
	// Superseded: the task is done without a sync, because a newer marker or a sweep does its work.
	Superseded(ctx context.Context, t Task)
	// Synced: the sync wrote a snapshot and its record.
	Synced(ctx context.Context, t Task, r record.Record)
	// PutOff: the task was not synced, and its marker comes back: a sweep is about to cover it, or
	// the process stops.
	PutOff(ctx context.Context, t Task, reason error)
	// Failed: the sync failed.
	Failed(ctx context.Context, t Task, s Settlement)
}

// A Relief is a sweep of the whole account that other syncs give way to.
type Relief interface {
	// Covers says about a marker whether a sweep has done its work, or is about to.
	Covers(ctx context.Context, t Task) (done, soon bool, err error)
	// Yields reports soon as Covers does, from memory.
	Yields(t Task) bool
}

type noRelief struct{}

func (noRelief) Covers(context.Context, Task) (done, soon bool, err error) { return false, false, nil }
func (noRelief) Yields(Task) bool                                          { return false }

// Handle syncs the customer of one marker and settles the marker. waiting ends the waits for pace
// and budget, ctx ends everything.
func (p *Protocol) Handle(ctx, waiting context.Context, t Task, m Message) {
	switch done, soon, err := p.Relief.Covers(ctx, t); {
	case done && p.Unpark(ctx, t) == nil:
		p.Observer.Superseded(ctx, t)
		p.settled(m.Ack(), t)
		return
	case soon:
		p.settled(m.NakWithDelay(p.Timing.GiveWay), t)
		return
	case err != nil:
		p.settled(m.NakWithDelay(p.Timing.Again), t)
		return
	}
	defer KeepAlive(m, p.AckWait/3)()
	res, err := p.Sync(ctx, waiting, t)
	switch {
	case err == nil && res.Superseded:
		p.Observer.Superseded(ctx, t)
		p.settled(m.Ack(), t)
	case err == nil:
		if err := p.succeeded(ctx, t, res); err != nil {
			p.Log.Warn("sync succeeded but is repeated", "customer", t.Customer, "err", err)
			p.settled(m.NakWithDelay(p.Timing.Again), t)
			return
		}
		p.settled(m.Ack(), t)
	case errors.Is(err, errYield):
		p.Observer.PutOff(ctx, t, err)
		p.settled(m.NakWithDelay(p.Timing.GiveWay), t)
	case waiting.Err() != nil:
		p.Observer.PutOff(ctx, t, err)
		p.settled(m.Nak(), t) // another syncer takes it over at once
	default:
		if s := p.failed(ctx, t, res.Record, err); s.Done {
			p.settled(m.Ack(), t)
		} else {
			p.settled(m.NakWithDelay(s.Delay), t)
		}
	}
}

// Request syncs a customer because an app asked for it. It fails with ErrNoCustomer if Stripe does
// not have the customer and nothing here has seen it.
func (p *Protocol) Request(ctx context.Context, t Task) (Result, error) {
	res, err := p.Sync(ctx, ctx, t)
	switch {
	case err == nil:
		err = p.succeeded(ctx, t, res)
	case ctx.Err() == nil && !errors.Is(err, ErrNoCustomer):
		p.failed(ctx, t, res.Record, err)
	}
	return res, err
}

// succeeded follows a sync that wrote: the success is evidence that Stripe answers, and it unparks
// the customer.
func (p *Protocol) succeeded(ctx context.Context, t Task, res Result) error {
	p.evidence.succeeded(t.Customer.Key(), time.Now())
	p.Observer.Synced(ctx, t, res.Record)
	return p.Unpark(ctx, t)
}

// settled logs an ack that could not be sent: the server delivers the marker again, and the sync is
// repeated.
func (p *Protocol) settled(err error, t Task) {
	if err != nil {
		p.Log.Warn("marker not settled, it will be delivered again", "customer", t.Customer, "stream_seq",
			t.Seq, "err", err)
	}
}

// KeepAlive sends a sign of life for the message at every interval, until stop is called. stop waits
// for a sign that is being sent. A timer takes less memory than a goroutine, and a syncer has hundreds
// of markers under way.
func KeepAlive(m interface{ InProgress() error }, every time.Duration) (stop func()) {
	timer := make(chan *time.Timer, 1)
	timer <- time.AfterFunc(every, func() {
		beat, ok := <-timer
		if !ok {
			return // stopped when it was due
		}
		// A sign that does not arrive costs a redelivery, which the next sign or the ack makes harmless.
		_ = m.InProgress()
		beat.Reset(every)
		timer <- beat
	})
	return func() {
		(<-timer).Stop()
		close(timer)
	}
}
