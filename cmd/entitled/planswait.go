package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/timing"
	"entitled/internal/topology"
)

// progressEvery is how often the progress of the syncers is read, quietFor the time without any after
// which a note says so, and silentFor the time after which a deciding syncer that has not reported is
// named: it reports every ReliefBeat.
const (
	progressEvery = 200 * time.Millisecond
	quietFor      = 15 * time.Second
)

var silentFor = 2*timing.Production.ReliefBeat + time.Second

// A planWait waits for the syncers after a document was applied.
type planWait struct {
	*plansView
	s      *command.Session
	number uint64
	bar    *term.Bar
	// moved is when the progress changed last, and noted says that a note has said that it did not.
	moved time.Time
	noted bool
}

// wait returns when every customer is decided under the document of this number, or a later one, from
// all facts that it needs.
func (v *plansView) wait(ctx context.Context, s *command.Session, number uint64) error {
	w := &planWait{plansView: v, s: s, number: number, moved: s.Now()}
	defer func() { w.bar.End() }()
	p, err := w.decided(ctx)
	if err == nil {
		err = w.read(ctx)
	}
	if ctx.Err() != nil {
		return tell.WithHint(errors.New("interrupted: the document is in force"), "the syncers go on deciding")
	}
	if err != nil {
		return err
	}
	w.bar.End()
	s.Err.Note(fmt.Sprintf("every customer is decided under document %d", p.Number))
	return nil
}

// decided waits until every snapshot is decided under the document.
func (w *planWait) decided(ctx context.Context) (applied.Progress, error) {
	var last applied.Progress
	for {
		p, err := w.bucket.ReadProgress(ctx)
		if err == nil && p.Number >= w.number {
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
		if p.Deciding >= w.number {
			if w.bar == nil {
				w.bar = term.NewBar(w.s.Err, p.Total, "decide again", "customers")
			}
			w.bar.Set(p.Done)
		}
		if err := w.pause(ctx, progressEvery); err != nil {
			return p, err
		}
	}
}

// read waits until the customers that lack facts are read from Stripe.
func (w *planWait) read(ctx context.Context) error {
	w.bar.End()
	w.bar = nil
	total, last := 0, -1
	w.advanced()
	for {
		began := time.Now()
		lacking, parked, err := w.lacking(ctx)
		took := time.Since(began)
		switch {
		case err != nil && ctx.Err() == nil:
			return command.NeedsOps(err)
		case err != nil || lacking == 0:
			return err
		case lacking == parked:
			return tell.WithHint(fmt.Errorf("the document is in force; %s of it could not be read from Stripe, and keep "+
				"what they had", tell.Count(parked, "customer")), "`entitled parked` shows why, and tries them again")
		case lacking != last:
			last = lacking
			w.advanced()
		}
		if total == 0 {
			total = lacking
			w.bar = term.NewBar(w.s.Err, int64(total), "read from Stripe", "customers")
			if w.bar == nil {
				w.s.Err.Note(fmt.Sprintf("%s must be read from Stripe, within STRIPE_RATE", tell.Count(total, "customer")))
			}
		}
		w.bar.Set(int64(total - lacking))
		w.quiet(quietFor, fmt.Sprintf("%s still must be read from Stripe: `entitled parked --all` shows those that fail",
			tell.Count(lacking, "customer")))
		// The bucket is read each time: a large one less often.
		if err := w.pause(ctx, max(progressEvery, 5*took)); err != nil {
			return err
		}
	}
}

// lacking counts the customers that lack facts which the document in force needs, and how many of them
// are parked.
func (w *planWait) lacking(ctx context.Context) (lacking, parked int, err error) {
	if err := w.plansView.read(ctx); err != nil {
		return 0, 0, err
	}
	state, err := topology.OpenBucket(ctx, w.JS, topology.StateBucket)
	if err != nil {
		return 0, 0, err
	}
	doc, readings := w.inForce.Document, map[string]plans.Reading{}
	for item, err := range streams.Items(ctx, w.JS, entitlement.Bucket(w.Mode)) {
		if err != nil {
			return 0, 0, err
		}
		s, err := entitlement.Decode(item.Value)
		if err != nil || s.Deleted || s.Entitlements != nil && s.PlansRevision >= w.number {
			continue
		}
		is, ok := readings[s.Account]
		if !ok {
			if is, err = store.Resolve(ctx, state, w.Mode, s.Account, doc.Entitlements(s.Account)); err != nil {
				return 0, 0, err
			}
			readings[s.Account] = is
		}
		if is != plans.ReadAlways && s.PlansRevision >= w.number {
			continue
		}
		lacking++
		failed, err := streams.Entry[record.Failure]{KV: state, Key: stripeevent.ParkedKey(
			stripeevent.Customer{Mode: w.Mode, Account: s.Account, ID: s.Customer})}.Get(ctx)
		if err != nil {
			return 0, 0, err
		}
		if failed.V.ParkedAt != nil {
			parked++
		}
	}
	return lacking, parked, nil
}

// advanced notes progress.
func (w *planWait) advanced() { w.moved, w.noted = w.s.Now(), false }

// quiet prints a note, once, if there was no progress for a while.
func (w *planWait) quiet(long time.Duration, note string) {
	if !w.noted && w.s.Now().Sub(w.moved) > long {
		w.noted = true
		w.s.Err.Note(note)
	}
}

func (w *planWait) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
