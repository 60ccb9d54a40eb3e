package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/tell"
	"entitled/internal/timing"
)

// every is how often the progress of the syncers is read, quietFor the time without any after which a
// note says so, and silentFor the time after which a deciding syncer that has not reported is named: it
// reports every ReliefBeat.
const (
	every    = 200 * time.Millisecond
	quietFor = 15 * time.Second
)

var silentFor = 2*timing.Production.ReliefBeat + time.Second

// A Wait is for the document of a number, or a later one. All fields are required.
type Wait struct {
	JS     jetstream.JetStream
	Mode   entitlement.Mode
	Bucket *applied.Bucket
	Number uint64
	Now    func() time.Time
	// Decided hears how many customers of how many are decided, and Read how many were read.
	Decided, Read func(done, of int64)
	// Note hears why there is no progress, once for each time.
	Note func(text string)

	// moved is when the progress changed last, and noted says that a note has said that it did not.
	moved time.Time
	noted bool
}

// An UnreadError says that customers keep the facts that they had, because they are parked.
type UnreadError struct{ Customers int }

func (e *UnreadError) Error() string {
	return fmt.Sprintf("the document is in force; %s of it could not be read from Stripe, and keep what they had",
		tell.Count(e.Customers, "customer"))
}

// Run returns the number of the document under which every customer is decided, from all facts that it
// needs.
func (w *Wait) Run(ctx context.Context) (uint64, error) {
	w.advanced()
	p, err := w.decided(ctx)
	if err == nil {
		err = w.read(ctx)
	}
	return p.Number, err
}

// decided waits until every snapshot is decided under the document.
func (w *Wait) decided(ctx context.Context) (applied.Progress, error) {
	var last applied.Progress
	for {
		p, err := w.Bucket.ReadProgress(ctx)
		if err == nil && p.Number >= w.Number {
			return p, nil
		}
		if err == nil && p != last {
			last = p
			w.advanced()
		}
		if last.Deciding != 0 {
			w.quiet(silentFor, fmt.Sprintf("the syncer %s, which decides them, has not reported for %s; if it is gone, "+
				"another one goes on within a minute", last.By, tell.Short(silentFor)))
		} else {
			w.quiet(quietFor, "no syncer of this mode makes progress: is one running, and ready?")
		}
		if p.Deciding >= w.Number {
			w.Decided(p.Done, p.Total)
		}
		if err := pause(ctx, every); err != nil {
			return p, err
		}
	}
}

// read waits until the customers that lack facts are read from Stripe.
func (w *Wait) read(ctx context.Context) error {
	total, last := 0, -1
	w.advanced()
	for {
		began := time.Now()
		lacking, parked, err := Lacking(ctx, w.JS, w.Mode, w.Number)
		took := time.Since(began)
		switch {
		case err != nil || lacking == 0:
			return err
		case lacking == parked:
			return &UnreadError{parked}
		case lacking != last:
			last = lacking
			w.advanced()
		}
		total = max(total, lacking)
		w.Read(int64(total-lacking), int64(total))
		w.quiet(quietFor, fmt.Sprintf("%s still must be read from Stripe: `entitled parked --all` shows those that fail",
			tell.Count(lacking, "customer")))
		// The bucket is read each time: a large one less often.
		if err := pause(ctx, max(every, 5*took)); err != nil {
			return err
		}
	}
}

// advanced notes progress.
func (w *Wait) advanced() { w.moved, w.noted = w.Now(), false }

// quiet says, once, that there was no progress for a while.
func (w *Wait) quiet(long time.Duration, note string) {
	if !w.noted && w.Now().Sub(w.moved) > long {
		w.noted = true
		w.Note(note)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
