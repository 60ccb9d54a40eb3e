package protocol

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A Result is the result of a sync. A superseded task did nothing, because a newer marker does its
// work.
type Result struct {
	Superseded bool
	Record     record.Record
	Snapshot   snapshot.Snapshot
}

var (
	// errOvertaken ends a sync that lost its claim or its write at every attempt; its marker is
	// delivered again.
	errOvertaken = errors.New("overtaken at every attempt")
	// errSuperseded ends the attempt of a task whose work a newer marker does.
	errSuperseded = errors.New("a newer marker does its work")
	// errYield ends an attempt that gives way to a sweep before it has read Stripe.
	errYield = errors.New("a sweep of the whole account is under way")
	// ErrNoCustomer answers a request for a customer that Stripe does not have and nothing here has
	// seen.
	ErrNoCustomer = errors.New("no such customer in Stripe")
)

// maxOvertaken bounds the attempts of one sync after the optimistic one.
const maxOvertaken = 5

// Sync reads the customer's whole state from Stripe and writes it as the next revision of the
// snapshot.
//
// waiting ends the waits for the customer's pace and for the fleet's budget, ctx ends everything: a
// sync that has begun to read Stripe may finish when the process is asked to stop.
func (p *Protocol) Sync(ctx, waiting context.Context, t Task) (Result, error) {
	rec := p.recordOf(t)
	// Most of the time no other sync of the customer is under way, and the first attempt finds that
	// out by trying.
	a := &attempt{Protocol: p, task: t, rec: &rec, optimistic: true}
	err := a.run(ctx, waiting)
	for n := 0; n < maxOvertaken && errors.Is(err, ErrConflict); n++ {
		a = &attempt{Protocol: p, task: t, rec: &rec}
		err = a.run(ctx, waiting)
	}
	switch {
	case errors.Is(err, errSuperseded):
		return Result{Superseded: true, Record: rec}, nil
	case errors.Is(err, ErrConflict):
		return Result{Record: rec}, fmt.Errorf("sync %s: %w", t.Customer, errOvertaken)
	case err != nil:
		return Result{Record: rec}, err
	}
	return Result{Record: rec, Snapshot: a.next}, nil
}

func (p *Protocol) recordOf(t Task) record.Record {
	rec := record.Record{
		Trigger:          t.Cause.Trigger,
		Event:            t.Cause.Event,
		Type:             t.Cause.Type,
		MarkerSeq:        t.Seq,
		StartedAt:        p.Now().UTC(),
		StripeRequestIDs: []string{},
		Cause:            t.Cause,
	}
	if !t.Received.IsZero() {
		received := t.Received.UTC()
		rec.ReceivedAt = &received
	}
	return rec
}

// An attempt is one pass through the ten steps. Each step is a method, and what a step finds is a
// field for the steps after it.
type attempt struct {
	*Protocol
	task Task
	// rec counts what all attempts of the sync have cost.
	rec *record.Record
	// optimistic skips steps 1 and 2 and does not wait in step 3. A newer marker, or a claim, is
	// nearly always absent, and steps 4 and 8 refuse an attempt where it is not.
	optimistic bool

	// Read beside step 1, for steps 2 and 4: the claim before this sync's, and its revision.
	last         Claim
	lastRevision uint64
	// Step 3: the slot is held until the attempt ends, the permit until step 6 uses it.
	slot   chan struct{}
	permit bool
	// Step 5.
	cur       Current
	eventsSeq uint64
	// Step 6.
	read stripeapi.State
	// Step 7.
	next    snapshot.Snapshot
	outcome record.Outcome
	changed []string
	// Step 8: the new revision.
	written uint64
}

// run takes the ten steps, in the order of the package's documentation. Steps whose order does not
// matter run concurrently. It fails with ErrConflict if another syncer was first, so that the sync
// begins again.
func (a *attempt) run(ctx, waiting context.Context) error {
	defer a.release()
	if a.optimistic {
		if !a.budgetAtOnce() {
			return ErrConflict
		}
	} else {
		for paced := false; !paced; {
			err := a.together(ctx, a.superseded, a.lastClaim, a.prefetch)
			if err == nil {
				paced, err = a.pace(waiting)
			}
			if err != nil {
				return err
			}
		}
		if err := a.budget(ctx, waiting); err != nil {
			return err
		}
	}
	if err := a.together(ctx, a.claim, a.fence, a.fenceEvents); err != nil {
		return err
	}
	if err := a.fetch(ctx); err != nil {
		return err
	}
	if err := a.decide(); err != nil {
		return err
	}
	if err := a.write(ctx); err != nil {
		return err
	}
	if err := a.together(ctx, a.confirm, a.wake, a.prefetch); err != nil {
		return err
	}
	return a.record(ctx)
}

// release gives back what the attempt still holds.
func (a *attempt) release() {
	if a.permit {
		a.Outside.ReturnPermit()
	}
	if a.slot != nil {
		<-a.slot
	}
}

// together takes steps concurrently, and fails with the error of the first of them that failed, in
// the order given.
func (a *attempt) together(ctx context.Context, steps ...func(context.Context) error) error {
	errs := make([]error, len(steps))
	calls := make([]func(), len(steps))
	for i, step := range steps {
		calls[i] = func() { errs[i] = step(ctx) }
	}
	a.Together(calls...)
	return cmp.Or(errs...)
}

// superseded is step 1. It fails with errSuperseded if a newer marker is on the task's subject, or
// was there and is done: that marker's sync does the work. No marker at all proves nothing, since a
// replica that lags behind finds none right after a delivery; only the record of a newer one does.
func (a *attempt) superseded(ctx context.Context) error {
	t := a.task
	if t.Eager() {
		return nil
	}
	newest, err := a.Outside.NewestMarker(ctx, t.Subject)
	switch {
	case err != nil:
		return fmt.Errorf("look for a newer marker of %s: %w", t.Customer, err)
	case newest > t.Seq:
		return errSuperseded
	case newest != 0:
		return nil
	}
	latest, err := a.Outside.LatestRecord(ctx, t.Customer)
	switch {
	case err != nil:
		return fmt.Errorf("read the latest record of %s: %w", t.Customer, err)
	case latest.Covers(t.Seq, t.Received):
		return errSuperseded
	}
	return nil
}

// lastClaim reads the claim that step 2 waits for. The pace bucket has nothing that must survive:
// if it cannot be read, the sync goes ahead unpaced.
func (a *attempt) lastClaim(ctx context.Context) error {
	var err error
	if a.last, a.lastRevision, err = a.Outside.Claim(ctx, a.task.Customer.Key()); err != nil {
		a.last, a.lastRevision = Claim{}, 0
	}
	return nil
}

// pace is step 2. It waits for the end of an active claim and then reports false, so that step 1 is
// taken again.
func (a *attempt) pace(waiting context.Context) (paced bool, err error) {
	wait := a.last.wait(a.Now(), a.rec.StartedAt)
	if wait <= 0 || a.task.Eager() {
		return true, nil
	}
	if err := a.Pause(waiting, wait); err != nil {
		return false, fmt.Errorf("sync %s: wait for its pace: %w", a.task.Customer, err)
	}
	a.rec.PaceMS += wait.Milliseconds()
	return false, nil
}

// budget is step 3: a fetch slot of this process, then a permit of the fleet's Stripe budget. Both
// come before the claim, so that no claim runs out while its syncer waits. After a wait for the
// slot, step 1 is taken again: in a backlog the wait is long enough for a newer marker to arrive,
// or for a sweep to cover this one.
func (a *attempt) budget(ctx, waiting context.Context) error {
	t := a.task
	slot := a.fetching[t.kind()]
	select {
	case slot <- struct{}{}:
		a.slot = slot
	default:
		select {
		case slot <- struct{}{}:
		case <-waiting.Done():
			return fmt.Errorf("sync %s: wait for a fetch slot: %w", t.Customer, context.Cause(waiting))
		}
		a.slot = slot
		if err := a.superseded(ctx); err != nil {
			return err
		}
	}
	if a.Relief.Yields(t) {
		return errYield
	}
	if err := a.Outside.TakePermit(waiting, t.kind()); err != nil {
		return fmt.Errorf("sync %s: wait for a permit of the Stripe budget: %w", t.Customer, err)
	}
	a.permit = true
	return nil
}

// budgetAtOnce is budget for an optimistic attempt: it reports false where budget would wait. Only
// tasks of webhooks begin with an optimistic attempt. The task of a request does not wait for the
// claim of another sync but replaces it, and needs its revision for that.
func (a *attempt) budgetAtOnce() bool {
	if a.task.kind() != stripeapi.Webhooks || a.Relief.Yields(a.task) {
		return false
	}
	slot := a.fetching[a.task.kind()]
	select {
	case slot <- struct{}{}:
		a.slot = slot
	default:
		return false
	}
	a.permit = a.Outside.TryPermit()
	return a.permit
}

// prefetch takes a spare permit, so that the next sync of a webhook can begin with an optimistic
// attempt.
func (a *attempt) prefetch(ctx context.Context) error {
	if a.task.kind() == stripeapi.Webhooks {
		a.Outside.PrefetchPermit(ctx)
	}
	return nil
}

// claim is step 4. It fails with ErrConflict if another syncer has the claim; a request goes on
// without it. Any other error of the claim costs requests, never correctness.
func (a *attempt) claim(ctx context.Context) error {
	err := a.Outside.SetClaim(ctx, a.task.Customer.Key(), a.last.next(a.Now()), a.lastRevision)
	if errors.Is(err, ErrConflict) && !a.task.Eager() {
		return ErrConflict
	}
	return nil
}

// fence is step 5: it reads the snapshot that this sync replaces, with its revision, and then the
// plans document. An entry that is no snapshot is overwritten.
func (a *attempt) fence(ctx context.Context) (err error) {
	if a.cur, err = a.Read(ctx, a.task.Customer); err != nil {
		return err
	}
	if a.cur.Newer {
		return fmt.Errorf("snapshot of %s: %w: a newer syncer wrote it, upgrade this one", a.task.Customer,
			snapshot.ErrSchema)
	}
	return nil
}

// fenceEvents is step 5 too: a fetch that starts after it covers all events up to there.
func (a *attempt) fenceEvents(ctx context.Context) (err error) {
	if a.eventsSeq, err = a.Outside.LastEvent(ctx); err != nil {
		return fmt.Errorf("read the end of the event log: %w", err)
	}
	return nil
}

// fetch is step 6: it reads all pages, and an error discards them all. Apps may request any id, so
// a request for a customer that Stripe does not have, and that has no snapshot and no failure here,
// ends with ErrNoCustomer and leaves no entry.
func (a *attempt) fetch(ctx context.Context) error {
	t := a.task
	a.permit = false
	a.rec.AsOf = a.Now().UTC()
	read, trace, err := a.Outside.Fetch(ctx, t.Customer, a.cur.Document.Entitlements(t.Customer.Account),
		func(ctx context.Context) error { return a.Outside.TakePermit(ctx, t.kind()) })
	a.read = read
	a.rec.StripeRequests += trace.Requests
	a.rec.StripeRequestIDs = append(a.rec.StripeRequestIDs, trace.RequestIDs...)
	if err != nil {
		return fmt.Errorf("sync %s: %w", t.Customer, err)
	}
	if !t.Eager() || !read.Deleted || a.cur.There {
		return nil
	}
	_, failed, err := a.Outside.Failure(ctx, t.Customer)
	if err != nil {
		return fmt.Errorf("read the failures of %s: %w", t.Customer, err)
	}
	if failed == 0 {
		return fmt.Errorf("sync %s: %w", t.Customer, ErrNoCustomer)
	}
	return nil
}

// decide is step 7: it reduces what was read to facts, and decides what they grant.
func (a *attempt) decide() (err error) {
	a.next = reduce.Reduce(a.read, a.rec.AsOf)
	if a.outcome, a.changed, err = a.Decide(a.cur, &a.next, a.task.Cause); err != nil {
		return fmt.Errorf("snapshot of %s: %w", a.task.Customer, err)
	}
	return nil
}

// write is step 8. It writes unchanged states too. It fails with ErrConflict if another sync has
// written since step 5.
func (a *attempt) write(ctx context.Context) (err error) {
	a.written, err = a.Outside.WriteSnapshot(ctx, a.task.Customer.Key(), a.next.Encode(), a.cur.Revision)
	if errors.Is(err, ErrConflict) {
		a.Observer.Conflicted()
		a.rec.Conflicts++
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("write snapshot of %s over revision %d: %w", a.task.Customer, a.cur.Revision, err)
	}
	return nil
}

// confirm follows a write that created an entry. It fails with ErrConflict if another plans document
// is in force by now, or if active entitlements are read by now and this sync did not read them,
// because the Stripe account had no feature. The sync then begins again: the job decide, which brings
// both changes to every customer in the bucket, may have ended before the entry was there. Other
// entries cannot escape the job.
func (a *attempt) confirm(ctx context.Context) error {
	if a.cur.There {
		return nil
	}
	moved, err := a.Moved(ctx, a.task.Customer, a.cur, a.read.Unasked)
	if err == nil && moved {
		err = ErrConflict
	}
	return err
}

// wake is step 9.
func (a *attempt) wake(ctx context.Context) error {
	return a.Protocol.Wake(ctx, a.task.Customer, a.next, a.written)
}

// record is step 10, but for the ack. A later sync may have recorded before this one, and the
// events that its record covers stay covered. The sync before may have died between its write and
// its record; then this record has the snapshot even if this sync changed nothing.
func (a *attempt) record(ctx context.Context) error {
	latest, err := a.Outside.LatestRecord(ctx, a.task.Customer)
	if err != nil {
		return fmt.Errorf("read the latest record of %s: %w", a.task.Customer, err)
	}
	rec := a.rec
	rec.Outcome, rec.Changed, rec.Cause = a.outcome, a.changed, a.next.Cause
	rec.EventsSeq, rec.Revision = max(a.eventsSeq, latest.EventsSeq), a.written
	if a.outcome != record.Unchanged || !a.cur.Recorded(latest) {
		rec.Snapshot = &a.next
	}
	rec.DurationMS = a.Now().Sub(rec.StartedAt).Milliseconds()
	if err := a.Outside.AppendRecord(ctx, a.task.Customer, *rec); err != nil {
		return fmt.Errorf("record the sync of %s: %w", a.task.Customer, err)
	}
	return nil
}

// Wake schedules the next check of a snapshot that was written. Two syncs may write in one order
// and schedule in the other, so the bucket is read again afterwards: the schedule must be that of
// the newest snapshot.
func (p *Protocol) Wake(ctx context.Context, c stripeevent.Customer, s snapshot.Snapshot, revision uint64) error {
	for {
		if at, ok := plans.NextLook(&s, p.Now()); ok {
			if err := p.Outside.SetWake(ctx, c, at); err != nil {
				return fmt.Errorf("schedule the next check of %s: %w", c, err)
			}
		} else if err := p.Outside.ClearWake(ctx, c); err != nil {
			return fmt.Errorf("remove the scheduled check of %s: %w", c, err)
		}
		data, newest, err := p.Outside.Snapshot(ctx, c.Key())
		if err != nil {
			return fmt.Errorf("read the revision of %s: %w", c, err)
		}
		if newest <= revision {
			return nil
		}
		if data == nil {
			// Forgotten since: a check would bring it back.
			if err := p.Outside.ClearWake(ctx, c); err != nil {
				return fmt.Errorf("remove the scheduled check of %s: %w", c, err)
			}
			return nil
		}
		if s, err = snapshot.Decode(data); err != nil {
			// Not a snapshot. The sync that replaces it schedules the check.
			return nil
		}
		revision = newest
	}
}

// SyncsWebhooks reports whether this process syncs a customer because of a webhook.
func (p *Protocol) SyncsWebhooks() bool { return len(p.fetching[stripeapi.Webhooks]) > 0 }
