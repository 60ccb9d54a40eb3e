package protocol

import (
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

// ErrPlans says that the plans document in force cannot be used, so that nothing may be decided: it
// is gone, it cannot be read, or it is older than the one under which a snapshot was decided.
var ErrPlans = errors.New("plans document not usable")

// A Current is a customer's entry in the bucket, and the plans document that was read after it.
type Current struct {
	// Snapshot is nil if there is no entry, or none that can be read. There says that the entry is
	// not empty.
	Snapshot *snapshot.Snapshot
	There    bool
	// Newer says that a newer version of this program wrote the entry.
	Newer bool
	// Revision is what a compare-and-set must expect.
	Revision uint64
	// Document is the document in force, nil for none.
	Document *plans.Document
}

// Read reads a customer's entry, and then the plans document. Every writer of the bucket begins
// with it. The order is what keeps a snapshot from being replaced by one decided under an older
// document: the entry was decided under a document that was in force before the entry was written.
func (p *Protocol) Read(ctx context.Context, c stripeevent.Customer) (Current, error) {
	data, revision, err := p.Outside.Snapshot(ctx, c.Key())
	if err != nil {
		return Current{}, fmt.Errorf("read the revision of %s: %w", c, err)
	}
	cur := Current{Revision: revision, There: data != nil}
	if data != nil {
		switch s, err := snapshot.Decode(data); {
		case err == nil:
			cur.Snapshot = &s
		case errors.Is(err, snapshot.ErrSchema):
			cur.Newer = true
		}
	}
	if cur.Document, err = p.Outside.Document(ctx, cur.number()); err != nil {
		return Current{}, fmt.Errorf("decide about %s: %w", c, err)
	}
	return cur, nil
}

// FactsRevision is the revision at which the facts of the entry were read from Stripe. A fence
// compares it, because a decision that was made again copies the facts to a higher revision.
func (c Current) FactsRevision() uint64 {
	if c.Snapshot != nil && c.Snapshot.FactsRevision != 0 {
		return c.Snapshot.FactsRevision
	}
	return c.Revision
}

// number is that of the document under which the entry was decided.
func (c Current) number() uint64 {
	if c.Snapshot == nil {
		return 0
	}
	return c.Snapshot.PlansRevision
}

// Decided says that the entry is decided under the document in force.
func (c Current) Decided() bool {
	return c.Snapshot != nil && c.Snapshot.Grants != nil && c.number() == c.Document.Revision()
}

// Recorded says that a customer's latest record has the content of the entry, or follows one that
// has it.
func (c Current) Recorded(latest record.Head) bool {
	return latest.Revision == c.Revision ||
		// The decision was made again and changed nothing, which leaves no record.
		latest.Revision == c.FactsRevision() && c.Snapshot.Cause.Trigger != stripeevent.TriggerPlans
}

// Decide makes the decision about next, which holds facts, fits it into a message, and says what it
// changes in the entry. It fails with [reduce.ErrTooLarge] if next does not fit; outcome and
// changed are then right nevertheless.
func (p *Protocol) Decide(cur Current, next *snapshot.Snapshot,
	cause snapshot.Cause) (outcome record.Outcome, changed []string, err error) {
	if !plans.Decide(next, cur.Document) {
		return "", nil, errLacksFacts
	}
	if len(next.Problems) > 0 {
		p.Observer.Problems()
	}
	err = reduce.Fit(next, p.Room())
	outcome, changed = Compare(next, cur.Snapshot, cause)
	return outcome, changed, err
}

// errLacksFacts says that a snapshot does not have all facts that the document needs.
var errLacksFacts = errors.New("the snapshot lacks facts that the plans document needs")

// Moved reports whether another document is in force than the one that was read with cur. unasked
// says that the customer's active entitlements were not read, because the Stripe account had no
// feature; then Moved also reports whether they are read by now. A writer that has created an entry
// calls it, since the job that decides the bucket again may have ended before the entry was there.
func (p *Protocol) Moved(ctx context.Context, c stripeevent.Customer, cur Current, unasked bool) (bool, error) {
	d, err := p.Outside.Document(ctx, 0)
	if err != nil {
		return false, fmt.Errorf("look for another plans document: %w", err)
	}
	if !unasked || d.Revision() != cur.Document.Revision() {
		return d.Revision() != cur.Document.Revision(), nil
	}
	reading, err := p.Outside.Reading(ctx, c.Account, d.Entitlements(c.Account), func(ctx context.Context) error {
		return p.Outside.TakePermit(ctx, stripeapi.Bulk)
	})
	return reading == plans.ReadAlways, err
}

// A Redecision is what [Protocol.DecideAgain] has done.
type Redecision struct {
	// Outcome is empty if there was nothing to decide again.
	Outcome record.Outcome
	// Lacks says that the entry keeps its former decision, because it lacks facts that the document
	// needs, or does not fit into a message with the new one: the customer must be synced.
	Lacks bool
	// Absent says that no entry was found. A replica that lags behind may not have it yet, so a caller
	// that knows of the entry calls again.
	Absent bool
}

// DecideAgain decides a customer's entry under the document in force, from the facts in it. It
// writes unchanged content too, as every writer does: otherwise a sync that was decided under the
// document before could still replace the entry. It leaves a record only if the content changes.
func (p *Protocol) DecideAgain(ctx context.Context, c stripeevent.Customer) (Redecision, error) {
	for range maxOvertaken {
		done, err := p.decideAgain(ctx, c)
		if !errors.Is(err, ErrConflict) {
			return done, err
		}
	}
	return Redecision{}, fmt.Errorf("decide %s again: %w", c, errOvertaken)
}

// DecideListed is [Protocol.DecideAgain] for an entry that was read with the whole bucket. listed has
// the entry, and the document that was read before the bucket. Most entries have not changed since,
// and are not read again; the write over an entry that has changed fails. It does not matter that the
// document was read first: an entry that was decided under a later one is read again, with the
// document.
func (p *Protocol) DecideListed(ctx context.Context, c stripeevent.Customer, listed Current) (Redecision, error) {
	if listed.number() <= listed.Document.Revision() {
		done, err := p.decideEntry(ctx, c, listed)
		if !errors.Is(err, ErrConflict) {
			return done, err
		}
	}
	return p.DecideAgain(ctx, c)
}

func (p *Protocol) decideAgain(ctx context.Context, c stripeevent.Customer) (Redecision, error) {
	cur, err := p.Read(ctx, c)
	if err != nil || cur.Snapshot == nil {
		return Redecision{Absent: err == nil && !cur.There}, err
	}
	return p.decideEntry(ctx, c, cur)
}

func (p *Protocol) decideEntry(ctx context.Context, c stripeevent.Customer, cur Current) (Redecision, error) {
	if cur.Decided() {
		return Redecision{}, p.finishDecision(ctx, c, cur)
	}
	next := *cur.Snapshot
	outcome, changed, err := p.Decide(cur, &next, snapshot.Cause{Trigger: stripeevent.TriggerPlans})
	switch {
	case errors.Is(err, errLacksFacts), errors.Is(err, reduce.ErrTooLarge):
		return Redecision{Lacks: true}, nil
	case err != nil:
		return Redecision{}, fmt.Errorf("decide %s again: %w", c, err)
	}
	next.FactsRevision = cur.FactsRevision()
	if outcome != record.Unchanged {
		next.ChangedAt = p.Now().UTC()
	}
	written, err := p.Outside.WriteSnapshot(ctx, c.Key(), next.Encode(), cur.Revision)
	if err != nil {
		return Redecision{}, fmt.Errorf("write snapshot of %s over revision %d: %w", c, cur.Revision, err)
	}
	done := Redecision{Outcome: outcome}
	if !equal(next.NextBoundary, cur.Snapshot.NextBoundary) {
		if err := p.Wake(ctx, c, next, written); err != nil {
			return done, err
		}
	}
	if outcome == record.Unchanged {
		return done, nil
	}
	return done, p.recordDecision(ctx, c, next, written, outcome, changed)
}

// finishDecision completes a decision under the document in force whose writer may have died before
// its record. That may also have been a sync: if Stripe has changed nothing, no event leads to
// another one.
func (p *Protocol) finishDecision(ctx context.Context, c stripeevent.Customer, cur Current) error {
	latest, err := p.Outside.LatestRecord(ctx, c)
	if err != nil {
		return fmt.Errorf("read the latest record of %s: %w", c, err)
	}
	if cur.Recorded(latest) {
		return nil
	}
	if err := p.Wake(ctx, c, *cur.Snapshot, cur.Revision); err != nil {
		return err
	}
	return p.recordDecision(ctx, c, *cur.Snapshot, cur.Revision, record.Unchanged, nil)
}

// recordDecision leaves the record of a decision that was made again. It read nothing from Stripe,
// so it covers the events that were covered before, and settles no marker.
func (p *Protocol) recordDecision(ctx context.Context, c stripeevent.Customer, s snapshot.Snapshot,
	written uint64, outcome record.Outcome, changed []string) error {
	latest, err := p.Outside.LatestRecord(ctx, c)
	if err != nil {
		return fmt.Errorf("read the latest record of %s: %w", c, err)
	}
	err = p.Outside.AppendRecord(ctx, c, record.Record{
		Trigger: stripeevent.TriggerPlans, EventsSeq: latest.EventsSeq, StartedAt: p.Now().UTC(), AsOf: s.AsOf,
		StripeRequestIDs: []string{}, Outcome: outcome, Revision: written, Changed: changed, Snapshot: &s,
		Cause: s.Cause,
	})
	if err != nil {
		return fmt.Errorf("record the decision about %s: %w", c, err)
	}
	return nil
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
