package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A task is one reason to sync one customer: a marker, or somebody's request.
type task struct {
	customer stripeevent.Customer
	lane     stripeevent.Lane
	// subject and seq are the marker's; a request has none.
	subject  string
	seq      uint64
	cause    entitlement.Cause
	received time.Time
}

// eager says that somebody waits for an answer: the task does not wait for the customer's pace.
func (t task) eager() bool { return t.seq == 0 }

// kind is whose share of the budget the task takes its places from.
func (t task) kind() stripeapi.Kind {
	if t.eager() {
		return stripeapi.Requests
	}
	return kindOf(t.lane)
}

// kindOf is the share of the markers of a lane.
func kindOf(lane stripeevent.Lane) stripeapi.Kind {
	if lane == stripeevent.Bulk {
		return stripeapi.Bulk
	}
	return stripeapi.Webhooks
}

// synced is what a sync came to. A superseded task did nothing: a newer marker does its work.
type synced struct {
	superseded bool
	record     Record
	snapshot   entitlement.Snapshot
}

// maxOvertaken is how often a sync that lost its claim or its write starts again before its marker is left to redelivery.
const maxOvertaken = 5

var errOvertaken = errors.New("overtaken at every attempt")

// protocol is the sync of one customer: DESIGN's step by step, in this order and no other.
type protocol struct {
	outside
	policy Policy
	now    func() time.Time
	// together makes calls side by side that nothing orders among themselves, and returns when all have ended.
	together func(calls ...func())
	// fetching bounds the syncs of each kind that this process has under way at Stripe. The kinds have slots of their own: syncs that wait for the
	// budget of one kind hold up no other.
	fetching map[stripeapi.Kind]chan struct{}
	// rest waits for a customer's pace.
	rest func(ctx context.Context, d time.Duration) error
	// room is how many bytes a snapshot may have.
	room func() int
	// conflicted is told of each write that came too late.
	conflicted func()
	// covered says that a sweep of the account has done what the task asks for, or that it is about to.
	covered func(ctx context.Context, t task) (done, soon bool, err error)
	// yields says that the task should give way to a sweep that is under way.
	yields func(task) bool
}

// sync reads the customer's whole state from Stripe and writes it as the next revision of the snapshot.
//
// A snapshot never goes back: the revision is read before the fetch begins, the write succeeds only on that revision, and
// every sync writes, changed or not. So the fetches behind consecutive revisions do not overlap. Skipping the write of an
// unchanged state would break that: a slow fetch of a state that has come and gone would find its revision still there.
//
// waiting ends the waiting for the customer's pace and the fleet's budget, ctx ends all of it: what has begun to read
// Stripe may finish when the process is asked to stop.
func (p *protocol) sync(ctx, waiting context.Context, t task) (synced, error) {
	rec := Record{
		Trigger:          t.cause.Trigger,
		Event:            t.cause.Event,
		Type:             t.cause.Type,
		MarkerSeq:        t.seq,
		StartedAt:        p.now().UTC(),
		StripeRequestIDs: []string{},
		Cause:            t.cause,
	}
	if !t.received.IsZero() {
		received := t.received.UTC()
		rec.ReceivedAt = &received
	}
	if leave, ok := p.enterAtOnce(t); ok {
		// Nearly always nobody else is at this customer, and nobody was for a while: that is found out by trying.
		s, err := p.claimAndRead(ctx, t, claim{}, 0, &rec)
		leave()
		if !errors.Is(err, errConflict) {
			return s, err
		}
	}
	for overtaken := 0; overtaken < maxOvertaken; {
		var (
			superseded    bool
			last          claim
			claimRevision uint64
			err, claimErr error
		)
		p.together(
			func() { superseded, err = p.superseded(ctx, t) },
			func() { last, claimRevision, claimErr = p.Claim(ctx, t.customer.Key()) },
			func() { p.lookAhead(ctx, t) },
		)
		if superseded || err != nil {
			return synced{superseded: superseded, record: rec}, err
		}
		// The pace bucket holds nothing that must survive: when it cannot be read, the fetch goes ahead unpaced.
		if wait := last.wait(p.now(), rec.StartedAt); claimErr == nil && wait > 0 && !t.eager() {
			if err := p.rest(waiting, wait); err != nil {
				return synced{record: rec}, fmt.Errorf("sync %s: wait for its pace: %w", t.customer, err)
			}
			rec.PaceMS += wait.Milliseconds()
			continue
		}
		leave, err := p.enter(ctx, waiting, t)
		if errors.Is(err, errSuperseded) {
			return synced{superseded: true, record: rec}, nil
		}
		if err != nil {
			return synced{record: rec}, err
		}
		s, err := p.claimAndRead(ctx, t, last, claimRevision, &rec)
		leave()
		if errors.Is(err, errConflict) {
			overtaken++
			continue
		}
		return s, err
	}
	return synced{record: rec}, fmt.Errorf("sync %s: %w", t.customer, errOvertaken)
}

// superseded reports whether a newer marker stands where the task's stood, or stood there and is done: then that one is
// handled, or will be.
func (p *protocol) superseded(ctx context.Context, t task) (bool, error) {
	if t.seq == 0 {
		return false, nil
	}
	newest, err := p.NewestMarker(ctx, t.subject)
	if err != nil {
		return false, fmt.Errorf("look for a newer marker of %s: %w", t.customer, err)
	}
	if newest != 0 {
		return newest > t.seq, nil
	}
	// Gone: acknowledged in other hands, or replaced while this task waited, and the newer one done; or a replica lags. Only
	// the record of the newer one is evidence.
	latest, err := p.LatestRecord(ctx, t.customer)
	if err != nil {
		return false, fmt.Errorf("read the latest record of %s: %w", t.customer, err)
	}
	return latest.covers(t), nil
}

// enter waits for one of the syncer's fetch slots and a place in the budget. Both come before the claim, so that no claim runs out while its holder
// waits. leave frees the slot.
func (p *protocol) enter(ctx, waiting context.Context, t task) (leave func(), err error) {
	slot, waited := p.fetching[t.kind()], false
	select {
	case slot <- struct{}{}:
	default:
		waited = true
		select {
		case slot <- struct{}{}:
		case <-waiting.Done():
			return nil, fmt.Errorf("sync %s: wait for a fetch slot: %w", t.customer, context.Cause(waiting))
		}
	}
	leave = func() { <-slot }
	if waited {
		// In a backlog that takes long enough for a newer marker to come, or for a sweep to settle this one.
		superseded, err := p.superseded(ctx, t)
		if superseded {
			err = errSuperseded
		}
		if err != nil {
			leave()
			return nil, err
		}
	}
	if p.yields(t) {
		leave()
		return nil, errYield
	}
	if err := p.Place(waiting, t.kind()); err != nil {
		leave()
		return nil, fmt.Errorf("sync %s: wait for a place in the Stripe budget: %w", t.customer, err)
	}
	return leave, nil
}

// errSuperseded ends a sync that waited so long that it need not be made.
var errSuperseded = errors.New("a newer marker stands in its place, or it is done")

// enterAtOnce is enter for a webhook's task where nothing has to be waited for. A task whose answer somebody waits for is not let in so: it does not
// give way to the claim that is there, and so must renew it.
func (p *protocol) enterAtOnce(t task) (leave func(), ok bool) {
	if t.kind() != stripeapi.Webhooks || p.yields(t) {
		return nil, false
	}
	slot := p.fetching[t.kind()]
	select {
	case slot <- struct{}{}:
	default:
		return nil, false
	}
	if !p.PlaceAtHand() {
		<-slot
		return nil, false
	}
	return func() { <-slot }, true
}

// lookAhead has a place at hand for a webhook's sync that comes soon.
func (p *protocol) lookAhead(ctx context.Context, t task) {
	if t.kind() == stripeapi.Webhooks {
		p.PlaceAhead(ctx)
	}
}

// claimAndRead sets the claim, then reads Stripe behind the fence and writes. The task has entered.
func (p *protocol) claimAndRead(ctx context.Context, t task, last claim, claimRevision uint64, rec *Record) (synced, error) {
	fence, err := p.claimAndFence(ctx, t, last, claimRevision)
	if err != nil {
		p.ReturnPlace()
		return synced{record: *rec}, err
	}
	asOf := p.now().UTC()
	rec.AsOf = asOf
	read, trace, err := p.fetch(ctx, t)
	rec.StripeRequests += trace.Requests
	rec.StripeRequestIDs = append(rec.StripeRequestIDs, trace.RequestIDs...)
	if err != nil {
		return synced{record: *rec}, fmt.Errorf("sync %s: %w", t.customer, err)
	}
	if t.eager() && read.Deleted && !fence.there {
		// Anybody may ask for any id: that alone leaves no entry.
		if stranger, err := p.stranger(ctx, t.customer); stranger || err != nil {
			return synced{record: *rec}, cmp.Or(err, fmt.Errorf("sync %s: %w", t.customer, errNoCustomer))
		}
	}

	next := Reduce(read, p.policy, asOf)
	if err := fit(&next, p.room()); err != nil {
		return synced{record: *rec}, fmt.Errorf("snapshot of %s: %w", t.customer, err)
	}
	outcome, changed := settle(&next, fence.cur, t.cause)
	written, err := p.WriteSnapshot(ctx, t.customer.Key(), next.Encode(), fence.revision)
	if errors.Is(err, errConflict) {
		p.conflicted()
		rec.Conflicts++
		return synced{}, errConflict
	}
	if err != nil {
		return synced{record: *rec}, fmt.Errorf("write snapshot of %s over revision %d: %w", t.customer, fence.revision, err)
	}

	p.together(
		func() { err = p.wake(ctx, t.customer, next, written) },
		// Nobody waits for this sync any more.
		func() { p.lookAhead(ctx, t) },
	)
	if err != nil {
		return synced{record: *rec}, err
	}
	latest, err := p.LatestRecord(ctx, t.customer)
	if err != nil {
		return synced{record: *rec}, fmt.Errorf("read the latest record of %s: %w", t.customer, err)
	}
	rec.Outcome, rec.Changed, rec.Cause = outcome, changed, next.Cause
	// A later sync may have recorded before this one; what it covers stays covered.
	rec.EventsSeq, rec.Revision = max(fence.eventsSeq, latest.EventsSeq), written
	// The sync before may have ended between its write and its record; then this one records what it changed.
	if outcome != Unchanged || latest.Revision != fence.revision {
		rec.Snapshot = &next
	}
	rec.DurationMS = p.now().Sub(rec.StartedAt).Milliseconds()
	if err := p.AppendRecord(ctx, t.customer, *rec); err != nil {
		return synced{record: *rec}, fmt.Errorf("record the sync of %s: %w", t.customer, err)
	}
	return synced{record: *rec, snapshot: next}, nil
}

// fenced is what a fetch is held against: the snapshot with its revision, and the end of the event log. All events up to
// there are covered by a fetch that starts afterwards.
type fenced struct {
	there     bool                  // something is in the customer's entry
	cur       *entitlement.Snapshot // nil: none, or none that is one
	revision  uint64
	eventsSeq uint64
}

// claimAndFence sets the claim and reads the fence, which need only precede the fetch: side by side, and after all waiting, so
// that few writes come too late. It returns errConflict if another syncer has the claim.
func (p *protocol) claimAndFence(ctx context.Context, t task, last claim, claimRevision uint64) (f fenced, err error) {
	var (
		data                        []byte
		claimErr, readErr, eventErr error
	)
	p.together(
		func() { claimErr = p.SetClaim(ctx, t.customer.Key(), last.next(p.now()), claimRevision) },
		func() { data, f.revision, readErr = p.Snapshot(ctx, t.customer.Key()) },
		func() { f.eventsSeq, eventErr = p.LastEvent(ctx) },
	)
	switch {
	case errors.Is(claimErr, errConflict) && !t.eager():
		// Any other error of the claim costs requests, never correctness.
		return f, errConflict
	case readErr != nil:
		return f, fmt.Errorf("read the revision of %s: %w", t.customer, readErr)
	case eventErr != nil:
		return f, fmt.Errorf("read the end of the event log: %w", eventErr)
	case data == nil:
		return f, nil
	}
	f.there = true
	switch s, err := entitlement.Decode(data); {
	case errors.Is(err, entitlement.ErrSchema):
		return f, fmt.Errorf("snapshot of %s: %w: a newer syncer wrote it, upgrade this one", t.customer, err)
	case err == nil:
		f.cur = &s
	}
	// Anything else in its place is overwritten.
	return f, nil
}

// stranger reports whether a customer without a snapshot has never failed here either: one that is parked was seen.
func (p *protocol) stranger(ctx context.Context, c stripeevent.Customer) (bool, error) {
	_, revision, err := p.Failure(ctx, c)
	if err != nil {
		return false, fmt.Errorf("read the failures of %s: %w", c, err)
	}
	return revision == 0, nil
}

func (p *protocol) fetch(ctx context.Context, t task) (stripeapi.State, stripeapi.Trace, error) {
	return p.Fetch(ctx, t.customer, func(ctx context.Context) error { return p.Place(ctx, t.kind()) })
}

// settle decides what next is against the snapshot before it, and dates it.
func settle(next, cur *entitlement.Snapshot, cause entitlement.Cause) (Outcome, []string) {
	if cur != nil && next.Equal(cur) {
		next.ChangedAt, next.Cause = cur.ChangedAt, cur.Cause
		return Unchanged, nil
	}
	next.ChangedAt, next.Cause = next.AsOf, cause
	var changed []string
	if cur != nil {
		changed = changedPaths(cur, next)
	}
	switch {
	case next.Deleted && (cur == nil || !cur.Deleted):
		return Deleted, changed
	case cur == nil:
		return Created, nil
	}
	return Changed, changed
}

// wake schedules the next check of what was written. Two syncs may write in one order and schedule in the other, so the
// bucket is read once more: the schedule must be of the newest snapshot.
func (p *protocol) wake(ctx context.Context, c stripeevent.Customer, s entitlement.Snapshot, revision uint64) error {
	for {
		if at, ok := wakeAt(&s, p.policy, p.now()); ok {
			if err := p.SetWake(ctx, c, at); err != nil {
				return fmt.Errorf("schedule the next check of %s: %w", c, err)
			}
		} else if err := p.ClearWake(ctx, c); err != nil {
			return fmt.Errorf("remove the scheduled check of %s: %w", c, err)
		}
		data, newest, err := p.Snapshot(ctx, c.Key())
		if err != nil {
			return fmt.Errorf("read the revision of %s: %w", c, err)
		}
		if newest <= revision {
			return nil
		}
		if data == nil {
			// Forgotten since: a check would bring it back.
			if err := p.ClearWake(ctx, c); err != nil {
				return fmt.Errorf("remove the scheduled check of %s: %w", c, err)
			}
			return nil
		}
		if s, err = entitlement.Decode(data); err != nil {
			// Not ours to schedule; the sync that follows the foreign write does.
			return nil
		}
		revision = newest
	}
}

// sideBySide is [protocol.together] as it is. It waits for its goroutines.
func sideBySide(calls ...func()) {
	var all sync.WaitGroup
	for _, call := range calls[1:] {
		all.Go(call)
	}
	calls[0]()
	all.Wait()
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
